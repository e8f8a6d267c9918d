"""A link of the receiver with a sender that it has started itself: on the loopback, with a token made for it alone."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from common.blobs import Blob
from common.codec.packet import CODEC_VERSION
from common.io.addresses import Address
from common.io.atomic_write import atomic_write
from common.weights.manifest import model_hash
from common.wire.convert import FrameMessage
from receiver.decode.session_decoder import SessionDecoder
from receiver.link.auth.tokens import add_token
from receiver.link.config import ListenConfig, SecurityConfig
from receiver.link.frame_handler import Arrival, FrameHandler, FrameOutcome
from receiver.link.server import LinkServer
from receiver.link.session import Session, SessionRegistry

_ANY_PORT = Address("127.0.0.1", 0)
_OWNER_ONLY = 0o600
_DRAIN_TIMEOUT_S = 2.0


class InternalLink:
    """A second `LinkServer` for one child.

    Args:
        name: of the sender, as it is shown.
        account: `token:` and this is the owner of its sessions.
        folder: private to this process; gets the token's files.
        on_session: called when the sender has connected.
    """

    def __init__(
        self, name: str, account: str, handler: FrameHandler, folder: Path, on_session: Callable[[], None]
    ) -> None:
        self.token_file = folder / "token"
        tokens, networks = folder / "tokens.toml", model_hash()
        token = add_token(tokens, account, None, datetime.now(UTC))
        atomic_write(self.token_file, token.encode(), mode=_OWNER_ONLY)
        self._server = LinkServer(
            ListenConfig(listen=_ANY_PORT, drain_timeout=_DRAIN_TIMEOUT_S),
            _NamedFrames(handler, name, on_session),
            SessionRegistry(partial(SessionDecoder, networks)),
            model_hash=networks,
            codec_version=CODEC_VERSION,
            security=SecurityConfig(tokens=tokens),
        )

    async def start(self) -> Address:
        """Starts to listen on a free port of the loopback. Raises OutputError if there is none."""
        return await self._server.start()

    async def stop(self) -> None:
        """Ends the child's sessions and frees the port."""
        await self._server.stop()


class PassedFrames:
    """A `FrameHandler` that passes everything on to another one."""

    def __init__(self, handler: FrameHandler) -> None:
        self._handler = handler

    async def on_session(self, session: Session) -> None:
        await self._handler.on_session(session)

    async def on_frame(self, session: Session, frame: FrameMessage, arrival: Arrival) -> FrameOutcome:
        return await self._handler.on_frame(session, frame, arrival)

    def on_blob(self, session: Session, blob: Blob) -> None:
        self._handler.on_blob(session, blob)

    def on_unused(self, session: Session, frame: FrameMessage | None) -> None:
        self._handler.on_unused(session, frame)

    async def on_session_end(self, session: Session) -> None:
        await self._handler.on_session_end(session)


class _NamedFrames(PassedFrames):
    """Passes a child's sessions on under the child's name: its own would be this machine's."""

    def __init__(self, handler: FrameHandler, name: str, on_session: Callable[[], None]) -> None:
        super().__init__(handler)
        self._name = name
        self._on_session = on_session

    async def on_session(self, session: Session) -> None:
        session.sender = self._name
        await super().on_session(session)
        # After the turn of the event loop in which the sender gets its Welcome.
        asyncio.get_running_loop().call_soon(self._on_session)
