"""The receiver's end of the link."""

from receiver.link.server import LinkServer, ListenConfiguration
from receiver.link.session import FrameDecoder, FrameHandler, Session, SessionRegistry

__all__ = ["FrameDecoder", "FrameHandler", "LinkServer", "ListenConfiguration", "Session", "SessionRegistry"]
