"""The sender's end of the link."""
