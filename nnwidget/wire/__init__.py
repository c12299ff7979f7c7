"""The wire floor: messages, codec and dispatch; no torch."""
