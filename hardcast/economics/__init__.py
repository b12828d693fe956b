"""What a chip costs: silicon, card, masks and design, and a million tokens, ours or a rival's."""
