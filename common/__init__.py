"""What both ends share."""

import os

# gRPC's core logs every failed handshake to stderr in its own words, and reads this when it is first imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
