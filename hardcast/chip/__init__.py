"""The chip as a machine: how many cycles each part of it takes."""
