"""What is proved about the RTL, and the proofs."""
