"""Masks come back without loss, and hostile bytes are refused or make some mask."""

import numpy as np
import pytest

from common.arrays import BoolArray
from common.errors import MalformedPacket
from common.picture_codec.mask import CONTEXTS, MaskCodec
from common.picture_codec.weights import load_codecs


@pytest.fixture(scope="module")
def masks() -> MaskCodec:
    return load_codecs()[1]


def disc(size: int) -> BoolArray:
    row, column = np.mgrid[:size, :size]
    return np.asarray(np.hypot(row - size / 3, column - size / 2) < size / 3)


@pytest.mark.parametrize("size", [16, 64, 128])
def test_masks_come_back(masks: MaskCodec, size: int) -> None:
    rng = np.random.default_rng(size)
    examples = [disc(size), ~disc(size), np.zeros((size, size), np.bool_), rng.random((size, size)) < 0.5]
    for mask in examples:
        np.testing.assert_array_equal(masks.decode(masks.encode(mask), size), mask)


def test_whole_mask_takes_nothing_and_a_simple_one_little(masks: MaskCodec) -> None:
    assert masks.encode(np.ones((64, 64), np.bool_)) == b""
    assert len(masks.encode(disc(128))) < 200


def test_no_mask_takes_more_than_a_bit_a_texel(masks: MaskCodec) -> None:
    chessboard = np.indices((128, 128)).sum(axis=0) % 2 == 0
    noise = np.random.default_rng(0).random((128, 128)) < 0.5
    assert max(len(masks.encode(chessboard)), len(masks.encode(noise))) <= 128 * 128 // 8


def test_hostile_masks_are_refused_or_decode(masks: MaskCodec) -> None:
    rng = np.random.default_rng(1)
    for length in (1, 2, 30, 511, 512):
        try:
            assert masks.decode(rng.bytes(length), 64).shape == (64, 64)
        except MalformedPacket:
            continue
    with pytest.raises(MalformedPacket, match="513 bytes"):
        masks.decode(bytes(513), 64)


@pytest.mark.parametrize("ones", [np.ones(5, np.int64), np.zeros(CONTEXTS, np.int64), np.full(CONTEXTS, 1 << 16)])
def test_impossible_frequencies_are_refused(ones: np.ndarray) -> None:
    with pytest.raises(ValueError, match="frequencies"):
        MaskCodec(ones)
