"""Codec for point colours: round trips, size limits, malformed data, and the order of the points."""

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from common.arrays import BoolArray, ByteArray
from common.body.anatomy import POINTS
from common.body.model import BodyModel
from common.errors import MalformedPacket
from common.texture.point_colours import MAX_BYTES, VERSION, decode, encode, point_order

ALL_SEEN = np.ones(POINTS, np.bool_)
NONE_SEEN = np.zeros(POINTS, np.bool_)


def rest_points() -> np.ndarray:
    body = BodyModel.load()
    points: np.ndarray = body.surface_points(body.rest_vertices[:1])[0][0].numpy()
    return points


def dressed(seed: int = 0) -> ByteArray:
    """(2048, 3): a striped shirt, trousers and skin, lit from one side, with noise."""
    rng = np.random.default_rng(seed)
    x, y, _ = rest_points().T
    shirt = np.where((np.floor(y / 0.08) % 2 == 0)[:, None], [180, 40, 50], [230, 225, 215])
    colours = np.where((y < -0.25)[:, None], [205, 160, 135], np.where((y < 0.1)[:, None], shirt, [50, 60, 95]))
    lit = colours * (0.85 + 0.3 * x / np.abs(x).max())[:, None] + rng.normal(0, 3, (POINTS, 3))
    return np.asarray(np.clip(lit, 0, 255), np.uint8)


def seen_from_the_front() -> BoolArray:
    body = BodyModel.load()
    normals = body.surface_points(body.rest_vertices[:1])[1][0].numpy()
    return np.asarray(normals[:, 2] < -0.2)


def rms_error(decoded: ByteArray, truth: ByteArray) -> float:
    return float(np.sqrt(np.square(decoded.astype(float) - truth).mean()))


@pytest.mark.parametrize("seen", [ALL_SEEN, seen_from_the_front(), NONE_SEEN], ids=["all", "front", "none"])
def test_round_trip(seen: BoolArray) -> None:
    colours = dressed()
    blob = encode(colours, seen)
    decoded = decode(blob)
    assert len(blob) < 4000
    np.testing.assert_array_equal(decoded.seen, seen)
    assert not seen.any() or rms_error(decoded.colours[seen], colours[seen]) < 4.0
    assert not decoded.colours[~seen].any()


def test_round_trip_of_a_single_point() -> None:
    colours = dressed()
    for index in (0, 1, 1023, POINTS - 1):
        seen = np.arange(POINTS) == index
        decoded = decode(encode(colours, seen))
        np.testing.assert_array_equal(decoded.seen, seen)
        assert rms_error(decoded.colours[index], colours[index]) < 8.0, index


@pytest.mark.parametrize("saturated", [False, True])
def test_random_colours_fit_the_size_limit(saturated: bool) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (POINTS, 3)).astype(np.uint8)
    if saturated:
        colours = np.where(colours > 127, 255, 0).astype(np.uint8)
    blob = encode(colours, ALL_SEEN)
    assert len(blob) <= MAX_BYTES
    assert rms_error(decode(blob).colours, colours) < 8.0


def test_colours_of_unseen_points_are_ignored() -> None:
    seen = seen_from_the_front()
    assert encode(dressed(), seen) == encode(np.where(seen[:, None], dressed(), 77).astype(np.uint8), seen)


def test_encode_refuses_other_shapes_and_types() -> None:
    with pytest.raises(ValueError, match="expected"):
        encode(dressed()[:-1], ALL_SEEN)
    with pytest.raises(ValueError, match="expected"):
        encode(dressed().astype(np.float32), ALL_SEEN)


def test_blob_that_is_cut_too_large_or_of_another_version_is_refused() -> None:
    blob = encode(dressed(), ALL_SEEN)
    for kept in (0, 1, 2, 20, 500, -1):
        with pytest.raises(MalformedPacket):
            pytest.fail(f"{kept} bytes are a blob: {decode(blob[:kept])}")
    with pytest.raises(MalformedPacket, match="version"):
        decode(bytes([VERSION + 1]) + blob[1:])
    with pytest.raises(MalformedPacket, match="bytes"):
        decode(blob + bytes(MAX_BYTES))


def test_decompression_bomb_and_a_length_that_contradicts_the_bitmap_are_refused() -> None:
    for with_size in (True, False):
        compressor = zstandard.ZstdCompressor(level=19, write_content_size=with_size)
        with pytest.raises(MalformedPacket):
            decode(bytes([VERSION]) + compressor.compress(bytes(100_000_000 // 32)))
    for length in (0, 100, 256, 257, 256 + 6 * POINTS):
        content = (b"\x80" + bytes(length))[:length]
        with pytest.raises(MalformedPacket):
            pytest.fail(f"{length}: {decode(bytes([VERSION]) + zstandard.ZstdCompressor().compress(content))}")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes_are_refused_or_decoded(data: bytes) -> None:
    refused_or_decoded(data)
    refused_or_decoded(bytes([VERSION]) + zstandard.ZstdCompressor().compress(data))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255), st.integers(0, 40))
def test_mutated_blob_is_refused_or_decoded(place: int, value: int, cut: int) -> None:
    blob = bytearray(encode(dressed(), seen_from_the_front()))
    blob[place % len(blob)] ^= value
    refused_or_decoded(bytes(blob[: len(blob) - cut]))


def refused_or_decoded(data: bytes) -> None:
    try:
        decoded = decode(data)
    except MalformedPacket:
        return
    assert decoded.colours.shape == (POINTS, 3) and decoded.colours.dtype == np.uint8
    assert decoded.seen.shape == (POINTS,) and not decoded.colours[~decoded.seen].any()


def test_point_order_is_a_permutation_within_each_token() -> None:
    order = point_order()
    np.testing.assert_array_equal(np.sort(order), np.arange(POINTS))
    np.testing.assert_array_equal(order // 16, np.arange(POINTS) // 16)


def test_point_order_puts_neighbours_on_the_body_side_by_side() -> None:
    points = rest_points()

    def mean_distance_m(positions: np.ndarray) -> float:
        return float(np.linalg.norm(positions[0::2] - positions[1::2], axis=1).mean())

    assert mean_distance_m(points[point_order()]) < 0.04 < mean_distance_m(points)
