"""The scenarios of the AFLSC paper, sent: `python -m tests.bench.scenarios`."""
