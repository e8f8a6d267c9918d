"""A campaign of attacks on a receiver with honest senders beside them; `python -m tests.bench.abuse`."""
