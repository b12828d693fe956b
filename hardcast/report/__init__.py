"""The datasheet: one self-contained page about a model as a chip, for people."""
