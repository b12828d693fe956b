"""The chip image: everything the masks will hold, on disk; integers in, integers out."""

from hardcast.image.reader import Image, open_image

__all__ = ["Image", "open_image"]
