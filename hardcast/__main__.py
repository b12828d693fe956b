"""`python -m hardcast` is the same as `hardcast`."""

from hardcast.cli import entry

entry()
