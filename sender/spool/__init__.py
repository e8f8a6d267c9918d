"""What a sender has taken in and not yet delivered, on disk."""
