"""Heads: close-ups and likeness."""
