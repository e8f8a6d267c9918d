"""LEB128 varints, of signed numbers in zigzag order."""

from common.errors import RecordingError

_MAX_BITS = 63


def append_varint(data: bytearray, value: int) -> None:
    """Appends a number from 0 on."""
    while value >= 0x80:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)


def append_signed(data: bytearray, value: int) -> None:
    """Appends a signed number; small magnitudes are short."""
    append_varint(data, value << 1 if value >= 0 else ~(value << 1))


class VarintReader:
    """Reads untrusted bytes from a position on.

    Every method raises RecordingError where the data ends too early or a number is too long.
    """

    def __init__(self, data: bytes, position: int = 0) -> None:
        self._data = data
        self.position = position

    def varint(self) -> int:
        """A number, 0…2⁶³ − 1."""
        value = 0
        for shift in range(0, _MAX_BITS, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise RecordingError("a block has a number that is too long")

    def signed(self) -> int:
        """A signed number."""
        value = self.varint()
        return ~(value >> 1) if value & 1 else value >> 1

    def take(self, count: int) -> bytes:
        """The next bytes."""
        end = self.position + count
        if end > len(self._data):
            raise RecordingError("a block ends too early")
        taken = self._data[self.position : end]
        self.position = end
        return taken
