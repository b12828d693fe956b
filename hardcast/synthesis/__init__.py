"""The chip's blocks through yosys, and what they cost."""
