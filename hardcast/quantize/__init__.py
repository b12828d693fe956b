"""From float weights to the chip's integers: the last room with floats on the model's path."""
