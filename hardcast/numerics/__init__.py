"""Integer arithmetic of the chip: rounding shifts, activation blocks, exact lookup tables."""
