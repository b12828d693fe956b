"""The virtual chip behind an OpenAI-compatible API: scheduler, API, keys and the chat page."""
