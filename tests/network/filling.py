"""Frames as long as those with bulk in them: filling that the link carries beside the labels and the sink takes off."""

import struct
import time
from dataclasses import replace

from common.codec.frame_codec import EncodedFrame
from common.errors import MalformedPacket
from common.frames import LabelFrame
from sender.link.encoder import FrameEncoder
from sender.pipeline import RatedEncoder
from sender.rate.controller import RateController

_LENGTH = struct.Struct("<I")


def fill(labels: bytes, total_bytes: int) -> bytes:
    """The labels with filling behind them, so long together, or as short as they can be."""
    filling = bytes(max(total_bytes - len(labels) - _LENGTH.size, 0))
    return labels + filling + _LENGTH.pack(len(labels))


def labels_in(payload: bytes) -> bytes:
    """The inverse of `fill`.

    Raises:
        MalformedPacket: it was not filled.
    """
    if len(payload) < _LENGTH.size:
        raise MalformedPacket("a payload without filling")
    (length,) = _LENGTH.unpack_from(payload, len(payload) - _LENGTH.size)
    if length > len(payload) - _LENGTH.size:
        raise MalformedPacket("a payload without filling")
    return payload[:length]


class FilledEncoder(FrameEncoder):
    """Fills what an encoder made up to the byte budget of the moment.

    Args:
        most_bytes: never beyond this, however much the link could carry.
    """

    def __init__(self, encoder: RatedEncoder, rate: RateController, most_bytes: int) -> None:
        self._encoder, self._rate, self._most_bytes = encoder, rate, most_bytes

    def encode(self, frame: LabelFrame) -> EncodedFrame:
        encoded = self._encoder.encode(frame)
        budget_bytes = self._rate.frame_bytes(self._most_bytes, time.monotonic() * 1e3)
        return replace(encoded, payload=fill(encoded.payload, budget_bytes))

    def acknowledge(self, sequence: int) -> None:
        self._encoder.acknowledge(sequence)

    def reset(self) -> None:
        self._encoder.reset()
