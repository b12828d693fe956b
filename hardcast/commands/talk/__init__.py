"""Verbs that talk to the virtual chip and measure it."""
