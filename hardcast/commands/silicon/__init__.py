"""Verbs about the chip: RTL, figures, rivals, datasheet."""
