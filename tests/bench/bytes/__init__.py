"""What goes over the link."""
