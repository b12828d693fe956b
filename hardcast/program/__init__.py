"""The forward pass as data: kinds of step, their order, and a printable listing."""
