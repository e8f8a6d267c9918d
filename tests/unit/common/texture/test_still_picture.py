"""Masks come back without loss, and hostile bytes are refused or make some mask."""

import numpy as np
import pytest

from common.arrays import BoolArray
from common.errors import MalformedPacket
from common.texture.still_picture import MaskCodec


@pytest.fixture(scope="module")
def masks() -> MaskCodec:
    return MaskCodec.load()


def disc(size: int) -> BoolArray:
    row, column = np.mgrid[:size, :size]
    return np.asarray(np.hypot(row - size / 3, column - size / 2) < size / 3)


@pytest.mark.parametrize("size", [16, 64, 128])
def test_masks_come_back_and_take_no_more_than_a_bit_a_texel(masks: MaskCodec, size: int) -> None:
    noise = np.random.default_rng(size).random((size, size)) < 0.5
    chessboard = np.indices((size, size)).sum(axis=0) % 2 == 0
    for mask in (disc(size), ~disc(size), np.zeros((size, size), np.bool_), noise, chessboard):
        data = masks.encode(mask)
        np.testing.assert_array_equal(masks.decode(data, size), mask)
        assert len(data) <= size * size // 8
    assert masks.encode(np.ones((size, size), np.bool_)) == b""
    assert len(masks.encode(disc(128))) < 200


def test_hostile_masks_are_refused_or_decode(masks: MaskCodec) -> None:
    rng = np.random.default_rng(1)
    for length in (1, 2, 30, 511, 512):
        try:
            assert masks.decode(rng.bytes(length), 64).shape == (64, 64)
        except MalformedPacket:
            continue
    with pytest.raises(MalformedPacket, match="513 bytes"):
        masks.decode(bytes(513), 64)
