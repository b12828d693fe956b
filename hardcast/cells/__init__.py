"""A standard-cell library and what a netlist of it does: timing, activity, energy."""
