"""Who may ask: keys, accounts, limits, usage."""
