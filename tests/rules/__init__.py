"""Rules that all source files keep: `python -m tests.rules` prints what breaks them."""
