"""Frames that were captured but not yet delivered, on disk."""
