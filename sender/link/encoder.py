"""What the link needs of the codec: bytes for a frame at the moment it leaves."""

from typing import Protocol

from common.frames import LabelFrame


class Payload(Protocol):
    """An encoded frame as far as the link cares (`common.codec` has the real one)."""

    @property
    def payload(self) -> bytes: ...

    @property
    def key(self) -> bool: ...


class FrameEncoder(Protocol):
    """Turns a frame into bytes at the moment it leaves, predicting it from the last acknowledged state."""

    def encode(self, frame: LabelFrame) -> Payload:
        """Encodes one frame; the same frame again replaces what was remembered of it."""

    def acknowledge(self, sequence: int) -> None:
        """The receiver has decoded that frame as it was last encoded: later ones may be predicted from it."""

    def reset(self) -> None:
        """The receiver has lost its state: the next frame must decode alone."""
