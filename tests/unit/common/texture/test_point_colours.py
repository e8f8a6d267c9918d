"""Colours of the surface points: what comes out is what went in, and nothing else comes out."""

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from common.arrays import BoolArray, ByteArray
from common.body.anatomy import POINTS
from common.body.model import BodyModel
from common.errors import MalformedPacket
from common.texture.point_colours import LARGEST, VERSION, decode, encode

EVERYWHERE = np.ones(POINTS, np.bool_)
NOWHERE = np.zeros(POINTS, np.bool_)


def rest_points() -> np.ndarray:
    body = BodyModel.load()
    points: np.ndarray = body.surface_points(body.rest_vertices[:1])[0][0].numpy()
    return points


def dressed(seed: int = 0) -> ByteArray:
    """(2048, 3): a striped shirt, trousers, skin, all of it lit from one side and grained."""
    rng = np.random.default_rng(seed)
    x, y, _ = rest_points().T
    shirt = np.where((np.floor(y / 0.08) % 2 == 0)[:, None], [180, 40, 50], [230, 225, 215])
    colours = np.where((y < -0.25)[:, None], [205, 160, 135], np.where((y < 0.1)[:, None], shirt, [50, 60, 95]))
    lit = colours * (0.85 + 0.3 * x / np.abs(x).max())[:, None] + rng.normal(0, 3, (POINTS, 3))
    return np.asarray(np.clip(lit, 0, 255), np.uint8)


def from_the_front() -> BoolArray:
    body = BodyModel.load()
    normals = body.surface_points(body.rest_vertices[:1])[1][0].numpy()
    return np.asarray(normals[:, 2] < -0.2)


def rms(found: ByteArray, truth: ByteArray) -> float:
    return float(np.sqrt(np.square(found.astype(float) - truth).mean()))


@pytest.mark.parametrize("seen", [EVERYWHERE, from_the_front()], ids=["all", "front"])
def test_round_trip(seen: BoolArray) -> None:
    colours = dressed()
    blob = encode(colours, seen)
    decoded = decode(blob)
    assert len(blob) < 4000
    np.testing.assert_array_equal(decoded.seen, seen)
    assert rms(decoded.colours[seen], colours[seen]) < 4.0
    assert not decoded.colours[~seen].any()


def test_nobody_seen_is_valid() -> None:
    decoded = decode(encode(dressed(), NOWHERE))
    assert not decoded.seen.any() and not decoded.colours.any()


@pytest.mark.parametrize("index", [0, 1, 1023, POINTS - 1])
def test_a_single_point(index: int) -> None:
    seen = NOWHERE.copy()
    seen[index] = True
    colours = dressed()
    decoded = decode(encode(colours, seen))
    np.testing.assert_array_equal(decoded.seen, seen)
    assert rms(decoded.colours[index], colours[index]) < 8.0


@pytest.mark.parametrize("extreme", [False, True])
def test_the_wildest_colours_stay_small(extreme: bool) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (POINTS, 3)).astype(np.uint8)
    if extreme:
        colours = np.where(colours > 127, 255, 0).astype(np.uint8)
    blob = encode(colours, EVERYWHERE)
    assert len(blob) <= LARGEST
    assert rms(decode(blob).colours, colours) < 8.0


def test_colours_of_unseen_points_do_not_matter() -> None:
    seen = from_the_front()
    assert encode(dressed(), seen) == encode(np.where(seen[:, None], dressed(), 77).astype(np.uint8), seen)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        encode(dressed()[:-1], EVERYWHERE)
    with pytest.raises(ValueError, match="expected"):
        encode(dressed().astype(np.float32), EVERYWHERE)


@pytest.mark.parametrize("kept", [0, 1, 2, 20, 500, -1])
def test_cut_short(kept: int) -> None:
    with pytest.raises(MalformedPacket):
        decode(encode(dressed(), EVERYWHERE)[:kept])


def test_another_version() -> None:
    with pytest.raises(MalformedPacket, match="version"):
        decode(bytes([VERSION + 1]) + encode(dressed(), EVERYWHERE)[1:])


def test_too_long() -> None:
    with pytest.raises(MalformedPacket, match="bytes"):
        decode(encode(dressed(), EVERYWHERE) + bytes(LARGEST))


@pytest.mark.parametrize("said", [True, False], ids=["says its size", "keeps its size quiet"])
def test_a_blob_that_swells_is_not_unpacked(said: bool) -> None:
    compressor = zstandard.ZstdCompressor(level=19, write_content_size=said)
    with pytest.raises(MalformedPacket):
        decode(bytes([VERSION]) + compressor.compress(bytes(100_000_000 // 32)))


@pytest.mark.parametrize("length", [0, 100, 256, 257, 256 + 6 * POINTS])
def test_lengths_that_contradict_the_points(length: int) -> None:
    content = (b"\x80" + bytes(length))[:length]
    with pytest.raises(MalformedPacket):
        decode(bytes([VERSION]) + zstandard.ZstdCompressor().compress(content))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_noise_is_refused_or_decoded(data: bytes) -> None:
    refused_or_decoded(data)
    refused_or_decoded(bytes([VERSION]) + zstandard.ZstdCompressor().compress(data))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255), st.integers(0, 40))
def test_mutations_are_refused_or_decoded(place: int, value: int, cut: int) -> None:
    blob = bytearray(encode(dressed(), from_the_front()))
    blob[place % len(blob)] ^= value
    refused_or_decoded(bytes(blob[: len(blob) - cut]))


def refused_or_decoded(data: bytes) -> None:
    try:
        decoded = decode(data)
    except MalformedPacket:
        return
    assert decoded.colours.shape == (POINTS, 3) and decoded.colours.dtype == np.uint8
    assert decoded.seen.shape == (POINTS,) and not decoded.colours[~decoded.seen].any()
