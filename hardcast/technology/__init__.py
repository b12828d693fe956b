"""Process nodes as data (nodes/<node>.toml): every figure with its band, unit, kind and source."""
