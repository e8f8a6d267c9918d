"""Labels from a source on one host to a sink without reconstruction on another, as the benches of the link run them."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import OutputError
from tests.netlab.hosts import ADDRESSES, TwoHosts
from tests.support.link.certificate_authority import Authority

PORT = 50051
# More than a run itself takes.
_TIMEOUT_S = 120.0

Lines = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Sent:
    """A run: lines of the source's output and of the receiver's log, of frames and of blobs."""

    source: Lines
    shown: Lines
    blobs: Lines


@contextmanager
def encrypted(*, quic: bool) -> Iterator[tuple[list[str], list[str]]]:
    """Flags of source and sink for TLS, or QUIC, with certificates that last as long as the context."""
    with tempfile.TemporaryDirectory() as folder:
        authority = Authority.make(Path(folder) / "certs")
        certificate, key = authority.issue("receiver", ADDRESSES[1])
        over = ["--quic"] if quic else []
        sink = ["--tls-cert", str(certificate), "--tls-key", str(key), *over]
        yield ["--tls-ca", str(authority.certificate), *over], sink


def send(hosts: TwoHosts, seconds: float, source_flags: Sequence[str], sink_flags: Sequence[str] = ()) -> Sent:
    """Sends labels for so many seconds from host 0 to host 1.

    Raises:
        OutputError: source or sink failed; its error is printed above.
    """
    with tempfile.TemporaryDirectory() as folder:
        log, address = Path(folder) / "shown.jsonl", f"{ADDRESSES[1]}:{PORT}"
        sink = hosts.run(1, ["tests.netlab.logging_receiver", "--listen", address, "--log", str(log), *sink_flags])
        try:
            if not sink.next_line_starts_with("listening"):
                raise OutputError("the receiver did not start; see its error above")
            source = hosts.run(0, ["tests.netlab.source", "--peer", address, "--seconds", str(seconds), *source_flags])
            output = source.rest(timeout_s=seconds + _TIMEOUT_S)
            if source.exit_code or not output:
                raise OutputError(f"the sender ended with exit code {source.exit_code}; see its error above")
        finally:
            sink.terminate()
        sent, received = ([json.loads(line) for line in text.splitlines()] for text in (output, log.read_text("utf-8")))
        return Sent(sent, *([line for line in received if line["what"] == what] for what in ("shown", "blob")))
