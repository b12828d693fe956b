"""Hardcast casts a language model into silicon; the package page is docs/README.md."""

__version__ = "0.1.0"
