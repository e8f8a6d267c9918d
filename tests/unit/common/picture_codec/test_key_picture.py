"""Key pictures come back with their metadata; hostile ones are refused before anything is allocated."""

import struct

import numpy as np
import pytest

from common.arrays import Image
from common.errors import MalformedPacket
from common.picture_codec.key_picture import MAX_BYTES, KeyPicture, check, decode, encode


def portrait(side: int) -> Image:
    row, column = np.mgrid[:side, :side]
    return np.stack([60 + row // 2, 80 + column // 2, 200 - row // 2], axis=-1).astype(np.uint8)


def test_picture_comes_back() -> None:
    data = encode(KeyPicture(portrait(192), 1234.5))
    decoded = decode(data)
    assert decoded.captured_at == 1234.5 and decoded.image.shape == (192, 192, 3) and len(data) < 6000
    assert np.abs(decoded.image.astype(float) - portrait(192)).mean() < 8
    assert check(data) == (192, 192, 1234.5)
    with pytest.raises(ValueError, match="257"):
        encode(KeyPicture(portrait(257), 0.0))
    with pytest.raises(MalformedPacket):
        decode(data[:-3] + bytes([data[-3] ^ 0x55]) + data[-2:])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(13),
        struct.pack(">BHHd", 2, 64, 64, 0.0) + bytes(30),
        struct.pack(">BHHd", 1, 65_535, 65_535, 0.0) + bytes(30),
        struct.pack(">BHHd", 1, 0, 64, 0.0) + bytes(30),
        struct.pack(">BHHd", 1, 64, 64, float("nan")) + bytes(30),
        struct.pack(">BHHd", 1, 64, 64, 0.0) + bytes(MAX_BYTES),
    ],
)
def test_hostile_headers_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedPacket):
        check(data)
