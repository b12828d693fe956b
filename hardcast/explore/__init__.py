"""Which chips a model could be cast as, and which of them no other one beats."""
