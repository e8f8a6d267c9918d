"""Pictures come back, streams of other weights are refused, and no bytes crash the decoder."""

from pathlib import Path

import numpy as np
import pytest
import torch

from common.arrays import Image
from common.errors import MalformedPacket, WeightsError
from common.picture_codec import weights
from common.picture_codec.codec import MAX_SIDE_PX, PictureCodec
from common.picture_codec.network import PictureCodecConfig, PictureCodecNetwork
from common.weights.loader import load_weights
from common.weights.manifest import find_entry


@pytest.fixture(scope="module")
def codec() -> PictureCodec:
    return weights.load_codecs()[0]


def smooth_picture(height: int, width: int) -> Image:
    row, column = np.mgrid[:height, :width]
    return np.stack([128 + 90 * np.sin(row / 9), 2 * column % 256, 100 + column // 2], axis=-1).astype(np.uint8)


def test_decoded_picture_is_the_encoded_one(codec: PictureCodec) -> None:
    for height, width in ((64, 64), (128, 96), (16, 40), (50, 131), (1, 1)):
        row, column = np.mgrid[:height, :width]
        picture = np.stack([60 + row, 80 + column // 2, 255 - row], axis=-1).astype(np.uint8)
        decoded = codec.decode(codec.encode(picture, 80), height, width)
        assert decoded.shape == picture.shape and decoded.dtype == np.uint8
        assert min(height, width) < 16 or np.abs(decoded.astype(float) - picture).mean() < 8


def test_higher_quality_takes_more_bytes_and_is_nearer(codec: PictureCodec) -> None:
    picture = smooth_picture(128, 128)
    streams = [codec.encode(picture, quality) for quality in (0, 50, 100)]
    errors = [np.square(codec.decode(data, 128, 128).astype(float) - picture).mean() for data in streams]
    assert sorted(map(len, streams)) == list(map(len, streams)) and errors[0] > errors[1] > errors[2]


def test_stream_does_not_depend_on_threads_where_the_decoder_is_exact(codec: PictureCodec) -> None:
    data, threads = codec.encode(smooth_picture(128, 128), 60), torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            assert codec.decode(data, 128, 128).shape == (128, 128, 3)
    finally:
        torch.set_num_threads(threads)


def test_mutated_streams_decode_or_are_refused(codec: PictureCodec) -> None:
    whole, rng, refused = codec.encode(smooth_picture(64, 64), 90), np.random.default_rng(5), 0
    for number in range(150):
        data = bytearray(whole)
        for _ in range(int(rng.integers(1, 4))):
            data[rng.integers(len(data))] = rng.integers(256)
        if number % 3 == 1:
            data = data[: rng.integers(len(data))]
        elif number % 3 == 2:
            data += rng.bytes(int(rng.integers(1, 60)))
        try:
            assert codec.decode(bytes(data), 64, 64).shape == (64, 64, 3)
        except MalformedPacket:
            refused += 1
    assert refused >= 145
    for length in (0, 1, 2, 3, 10, 300, 3000):
        with pytest.raises(MalformedPacket):
            codec.decode((bytes([40]) + rng.bytes(length))[:length], 64, 64)


def test_stream_of_another_size_or_other_weights_is_refused(codec: PictureCodec) -> None:
    data = codec.encode(smooth_picture(64, 64), 50)
    with pytest.raises(MalformedPacket):
        codec.decode(data, 128, 128)
    with pytest.raises(MalformedPacket, match="other weights"):
        PictureCodec(codec._network, codec._tables, b"other").decode(data, 64, 64)


def test_sizes_and_qualities_have_limits(codec: PictureCodec) -> None:
    with pytest.raises(ValueError, match="513"):
        codec.decode(bytes(8), MAX_SIDE_PX + 1, 16)
    with pytest.raises(ValueError, match="quality 101"):
        codec.encode(smooth_picture(16, 16), 101)
    with pytest.raises(MalformedPacket, match="quality 200"):
        codec.decode(bytes([200]) + bytes(20), 16, 16)


def test_saved_network_loads_again(tmp_path: Path) -> None:
    with pytest.raises(WeightsError):
        weights.load_codecs(tmp_path)
    torch.manual_seed(0)
    network = PictureCodecNetwork(PictureCodecConfig((16, 16, 16), 8, 4, 8))
    ones = np.full(len(load_weights(weights.NAME)["tables.mask_ones"]), 1 << 15)
    weights.save_network(network, ones, {}, {}, tmp_path)
    assert weights.codec_digest(tmp_path) == bytes.fromhex(find_entry(weights.NAME, tmp_path).sha256)[:8]
    stored = load_weights(weights.NAME, None, tmp_path)
    exact = [value for name, value in stored.items() if name.startswith("hyper_synthesis.")]
    assert len(exact) == 10 and not any(value.is_floating_point() for value in exact), "they decide symbols"
    found = weights.load_network(tmp_path)
    assert torch.equal(found.hyper_synthesis.second.on_grid()[0], network.hyper_synthesis.second.on_grid()[0])
    codec, masks = weights.load_codecs(tmp_path)
    assert codec.decode(codec.encode(smooth_picture(32, 32), 50), 32, 32).shape == (32, 32, 3)
    mask = np.eye(64, dtype=np.bool_)
    assert (masks.decode(masks.encode(mask), 64) == mask).all()
