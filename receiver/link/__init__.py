"""The receiver's end of the link."""

from receiver.link.server import LinkServer, ListenConfig
from receiver.link.session import FrameDecoder, FrameHandler, Session, SessionRegistry

__all__ = ["FrameDecoder", "FrameHandler", "LinkServer", "ListenConfig", "Session", "SessionRegistry"]
