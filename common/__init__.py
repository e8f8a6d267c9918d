"""Code that sender and receiver share."""
