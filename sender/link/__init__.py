"""The sender's end of the link."""

from sender.link.client import LinkClient
from sender.link.config import LinkConfig
from sender.link.observer import Fate, LinkObserver
from sender.link.session import FrameEncoder, Payload

__all__ = ["Fate", "FrameEncoder", "LinkClient", "LinkConfig", "LinkObserver", "Payload"]
