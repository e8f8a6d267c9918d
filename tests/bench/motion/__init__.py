"""Bodies in motion, at the sender and as they are shown."""
