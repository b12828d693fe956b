"""What config.json and GGUF metadata say of RoPE, and of which layers have it."""
