"""Code that sender and receiver share."""

import os

# gRPC's core would log every failed handshake to stderr; it reads this variable when it is first imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
