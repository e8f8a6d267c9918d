"""Bodies, clothes and people of pictures."""
