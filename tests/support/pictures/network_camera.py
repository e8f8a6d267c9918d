"""A network camera of H.264 by RTSP, of which a test says what it answers and when it sends."""

import base64
import itertools
import re
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import av

_DESCRIPTION = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
    "a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1;sprop-parameter-sets={}\r\na=control:track1\r\n"
)
_MOST_BYTES = 1300
_CLOCK_HZ = 90_000
Frame = Sequence[bytes]
"""Units of H.264, without start codes."""


def frames_of(path: Path) -> list[Frame]:
    """The frames of a file of H.264 (`.h264`), each with its parameters if it is a whole one."""
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    return [[unit for unit in re.split(rb"\x00\x00\x00?\x01", packet) if unit] for packet in packets]


class NetworkCamera:
    """Answers one client after the other, in a thread of its own, until it is closed.

    Args:
        frames: of which the first is a whole one.
        times_s: of the frames, on the camera's clock; None without an end, ten a second, again and again.
        answer: what it answers to a method instead, the number of a request at the end.
    """

    def __init__(
        self,
        frames: Sequence[Frame] = (),
        times_s: Sequence[float] | None = None,
        answer: Callable[[str, int], bytes | None] = lambda method, number: None,
    ) -> None:
        self._frames, self._times_s, self._answer = frames, times_s, answer
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"rtsp://user:secret@127.0.0.1:{self._server.getsockname()[1]}/live"
        self.requests = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                with client, suppress(OSError):
                    self._converse(client)

    def _converse(self, client: socket.socket) -> None:
        lines = client.makefile("rb")
        method = ""
        for line in lines:
            method = line.decode().split()[0] if line.endswith(b"RTSP/1.0\r\n") else method
            if line.lower().startswith(b"cseq:"):
                number = int(line[5:])
                self.requests += 1
                client.sendall(self._answer(method, number) or self._usual(method, number))
            if method == "PLAY" and line == b"\r\n":
                self._play(client)
                return

    def _usual(self, method: str, number: int) -> bytes:
        parameters = [unit for unit in self._frames[0] if unit[0] & 31 in (7, 8)] if self._frames else []
        text = _DESCRIPTION.format(",".join(base64.b64encode(unit).decode() for unit in parameters))
        more = {
            "DESCRIBE": f"Content-Type: application/sdp\r\nContent-Length: {len(text)}\r\n\r\n{text}",
            "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 7\r\n\r\n",
        }
        return f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{more.get(method, chr(13) + chr(10))}".encode()

    def _play(self, client: socket.socket) -> None:
        sequence = itertools.count()
        times_s = itertools.count(0.0, 0.1) if self._times_s is None else iter(self._times_s)
        for frame, time_s in zip(itertools.cycle(self._frames), times_s, strict=False):
            parts = [part for unit in frame for part in _parts(unit)]
            for index, part in enumerate(parts):
                last = 0x80 if index == len(parts) - 1 else 0
                time = round(time_s * _CLOCK_HZ) % 2**32
                packet = struct.pack("!BBHII", 0x80, last | 96, next(sequence) % 2**16, time, 7) + part
                client.sendall(b"$\0" + struct.pack("!H", len(packet)) + packet)


def _parts(unit: bytes) -> list[bytes]:
    """A unit as payloads of RTP (RFC 6184, 5.8)."""
    if len(unit) <= _MOST_BYTES:
        return [unit]
    pieces = [unit[at : at + _MOST_BYTES] for at in range(1, len(unit), _MOST_BYTES)]
    kinds = [0x80 * (n == 0) | 0x40 * (n == len(pieces) - 1) | unit[0] & 31 for n in range(len(pieces))]
    return [bytes([unit[0] & 0xE0 | 28, kind]) + piece for kind, piece in zip(kinds, pieces, strict=True)]
