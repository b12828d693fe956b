"""Verbs that bring, cast and look into a model."""
