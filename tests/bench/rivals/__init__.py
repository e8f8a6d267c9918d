"""Bodywire beside other ways to send a person: `python -m tests.bench.rivals`."""
