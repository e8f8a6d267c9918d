"""A receiver under load; `python -m tests.bench.load`."""
