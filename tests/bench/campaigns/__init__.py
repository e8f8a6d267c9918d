"""Long runs that look for faults."""
