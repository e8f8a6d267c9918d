"""The receiver's end of the link."""
