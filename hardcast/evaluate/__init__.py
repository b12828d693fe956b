"""How good and how fast the chip is: against the float model, and against the clock."""
