"""OpenAI's words: requests, replies, endpoints, tools, the document."""
