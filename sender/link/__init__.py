"""The sender's end of the link."""

from sender.link.client import LinkClient
from sender.link.configuration import LinkConfig
from sender.link.encoder import FrameEncoder, Payload
from sender.link.observer import Fate, LinkObserver

__all__ = ["Fate", "FrameEncoder", "LinkClient", "LinkConfig", "LinkObserver", "Payload"]
