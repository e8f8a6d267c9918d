"""What the senders and receivers for netlab's hosts have in common."""

import asyncio
import secrets
import signal
from collections.abc import Coroutine

from common.codec.frame_codec import FrameCodec
from common.codec.frame_state import EncodedFrame
from common.codec.packet import CODEC_VERSION
from common.frames import LabelFrame
from common.io.addresses import Address
from common.labels import GROUP_NAMES
from common.wire.convert import Hello
from receiver.config import ListenConfig, SecurityConfig
from receiver.link.server import LinkServer
from receiver.link.session import FrameHandler

MODEL = bytes(8)


class FixedRate:
    """The codec at a fixed ρ for all groups."""

    def __init__(self, model: bytes = MODEL, rho: float = 0.2) -> None:
        self._codec, self._rho = FrameCodec(model), dict.fromkeys(GROUP_NAMES, rho)
        self.acknowledge, self.reset = self._codec.acknowledge, self._codec.reset
        self.expect, self.rewind = self._codec.expect, self._codec.rewind

    def offered(self, frame: LabelFrame) -> None: ...

    def encode(self, *frames: LabelFrame) -> EncodedFrame:
        """See `FrameEncoder.encode`."""
        return self._codec.encode_bundle(frames, self._rho)


def new_hello(name: str, model: bytes = MODEL, *, live: bool) -> Hello:
    """Hello of a session that begins."""
    secret = secrets.token_bytes(32)
    return Hello(secrets.token_bytes(16), name, CODEC_VERSION, model, live, session_secret=secret)


def terminated() -> asyncio.Event:
    """Set on SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    return stop


async def serve(
    listen: Address,
    handler: FrameHandler,
    security: SecurityConfig | None = None,
    *,
    beside: Coroutine[None, None, None] | None = None,
    quic: bool = False,
) -> None:
    """Gives frames to a handler until SIGTERM.

    Args:
        beside: runs meanwhile.
        quic: take senders over QUIC too.
    """
    stop = terminated()
    server = LinkServer(
        ListenConfig(listen=listen, quic=quic),
        handler,
        model_hash=MODEL,
        codec_version=CODEC_VERSION,
        security=security,
    )
    working = asyncio.create_task(beside) if beside is not None else None
    print(f"listening on {await server.start()}", flush=True)
    await stop.wait()
    if working is not None:
        working.cancel()
    await server.stop()
