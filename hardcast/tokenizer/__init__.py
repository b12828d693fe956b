"""Tokenizers: text to token ids and back, streaming, and chat prompts."""

from hardcast.tokenizer.source import spec_from_source, usable_tokenizer
from hardcast.tokenizer.spec import TokenizerSpec
from hardcast.tokenizer.stream import TokenStream
from hardcast.tokenizer.tokenizer import Tokenizer

__all__ = ["TokenStream", "Tokenizer", "TokenizerSpec", "spec_from_source", "usable_tokenizer"]
