"""Requests to tokens: queue, slots, prefixes, batches, constraints; no HTTP."""
