"""Asks a receiver for its health, for containers and load balancers: `python -m common.wire.health_check HOST:PORT`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from common.errors import PeerError, UsageError, exit_code_of
from common.io.addresses import Address
from common.wire.certificates import CertificateFiles
from common.wire.convert import STREAM_SERVICE
from common.wire.stream import NO_PROXY

_DESCRIPTION = """Ask a receiver over gRPC whether it serves. Exits with 0 if it does, with 4 if it does not answer or
stops, and with 2 if a file cannot be read. Without --tls-ca the connection is not encrypted."""
_TIMEOUT_S = 3.0


def check_health(peer: Address, files: CertificateFiles, timeout_s: float) -> None:
    """Asks the health service of a receiver.

    Args:
        files: the authority to trust, and a certificate of one's own; without an authority nothing is encrypted.

    Raises:
        PeerError: it does not answer, or does not serve.
        UsageError: a file cannot be read or is not valid.
    """
    found = files.read()
    if found.authority is None:
        channel: Any = grpc.insecure_channel(str(peer), options=[NO_PROXY])
    else:
        trusted = grpc.ssl_channel_credentials(found.authority, found.key, found.certificate)
        channel = grpc.secure_channel(str(peer), trusted, options=[NO_PROXY])
    request = health_pb2.HealthCheckRequest(service=STREAM_SERVICE)
    with channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=timeout_s, wait_for_ready=True)
        except grpc.RpcError as error:
            raise PeerError(f"the receiver at {peer} does not answer: {_reason(error)}") from error
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise PeerError(f"the receiver at {peer} does not serve: it stops, or is another program")


def _reason(error: Any) -> str:
    return f"{error.code().name.lower().replace('_', ' ')}, {error.details()}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser("python -m common.wire.health_check", description=_DESCRIPTION)
    parser.add_argument("peer", metavar="HOST:PORT", help="the receiver")
    parser.add_argument("--tls-ca", type=Path, help="authority of the receiver's certificate")
    parser.add_argument("--tls-cert", type=Path, help="certificate to present, for receivers that ask for one")
    parser.add_argument("--tls-key", type=Path, help="private key of --tls-cert")
    parser.add_argument("--timeout", type=float, default=_TIMEOUT_S, help="seconds to wait (default: %(default)g)")
    options = parser.parse_args(arguments)

    def work() -> None:
        try:
            peer = Address.parse(options.peer)
            files = CertificateFiles(options.tls_cert, options.tls_key, options.tls_ca)
        except ValueError as error:
            raise UsageError(str(error)) from error
        check_health(peer, files, options.timeout)
        print("serving")

    return exit_code_of("health_check", work)


if __name__ == "__main__":
    sys.exit(main())
