"""Live pictures of faces: the chart, the video, and its parts over a link that loses some."""

from fractions import Fraction

import av
import numpy as np
import pytest

from common.arrays import Image
from common.errors import MalformedPacket
from common.texture.face_picture import (
    HEAD_BYTES,
    MAX_BYTES,
    FaceAssembly,
    FaceChart,
    FacePacket,
    FaceParts,
    FaceVideoDecoder,
    FaceVideoEncoder,
    LandmarkShapes,
    laid_over,
)

SIDE, SHAPE = 64, bytes(range(12))


def picture(number: int, side: int = SIDE) -> Image:
    """A disc that wanders over a slope."""
    down, across = np.mgrid[:side, :side] / side
    image = np.stack([255 * across, 255 * down, 128 + 0 * down], axis=-1)
    image[np.hypot(across - 0.3 - 0.02 * number, down - 0.5) < 0.15] = (40, 200, 90)
    return image.astype(np.uint8)


def psnr(one: Image, other: Image) -> float:
    return float(10 * np.log10(255**2 / np.square(one.astype(float) - other).mean()))


def video(count: int, bits: float = 4000.0, keys: tuple[int, ...] = (0,)) -> list[FacePacket]:
    coder = FaceVideoEncoder(SIDE)
    return [FacePacket(3, k in keys, SIDE, SHAPE, coder.encode(picture(k), bits, key=k in keys)) for k in range(count)]


def test_pictures_come_back() -> None:
    decoder = FaceVideoDecoder()
    for number, packet in enumerate(video(6)):
        shown = decoder.decode(packet.data, SIDE, key=packet.key)
        assert shown is not None and psnr(shown, picture(number)) > 25


def test_bits_of_a_picture_are_those_that_it_was_given() -> None:
    thin, thick = (sum(len(each.data) for each in video(40, bits)[10:]) for bits in (600.0, 2400.0))
    assert 0.6 < thin / (30 * 600 / 8) < 1.5
    assert thick > 2 * thin


def test_a_larger_chart_is_reduced() -> None:
    data = FaceVideoEncoder(SIDE).encode(picture(0, 4 * SIDE), 8000.0, key=True)
    shown = FaceVideoDecoder().decode(data, SIDE, key=True)
    assert shown is not None and psnr(shown, picture(0)) > 25


def test_nothing_is_shown_before_a_key_picture() -> None:
    _, second, third = video(3, keys=(0, 2))
    decoder = FaceVideoDecoder()
    assert decoder.decode(second.data, SIDE, key=False) is None
    assert decoder.decode(third.data, SIDE, key=True) is not None


@pytest.mark.parametrize("data", [b"\x00", b"no video", bytes(300)])
def test_what_is_no_video_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedPacket):
        FaceVideoDecoder().decode(data, SIDE, key=True)


def test_a_picture_of_another_size_is_refused_before_it_takes_memory() -> None:
    coder = av.CodecContext.create("libvpx-vp9", "w")
    coder.width, coder.height, coder.pix_fmt = 2048, 2048, "yuv420p"
    coder.time_base = Fraction(1, 10)
    data = b"".join(bytes(each) for each in coder.encode(av.VideoFrame(2048, 2048, "yuv420p")) + coder.encode(None))
    with pytest.raises(MalformedPacket):
        FaceVideoDecoder().decode(data, SIDE, key=True)


def test_damaged_pictures_are_pictures_of_this_size_or_refused() -> None:
    rng, packets = np.random.default_rng(5), video(4, keys=(0, 2))
    refused = 0
    for _ in range(400):
        decoder = FaceVideoDecoder()
        try:
            for packet in packets:
                data = bytearray(packet.data)
                for at in rng.integers(0, len(data), size=int(rng.integers(0, 4))):
                    data[at] = rng.integers(256)
                shown = decoder.decode(bytes(data[: int(rng.integers(1, 3 * len(data)))]), SIDE, key=packet.key)
                assert shown is None or shown.shape == (SIDE, SIDE, 3)
        except MalformedPacket:
            refused += 1
    assert 50 < refused < 400


def parts_of(packets: list[FacePacket], most_bytes: int) -> list[bytes]:
    cutter, parts = FaceParts(), list[bytes]()
    for packet in packets:
        cutter.put(packet)
        while cutter.left:
            parts.append(cutter.take(most_bytes))
    return parts


def test_parts_make_the_pictures_that_were_cut() -> None:
    packets, assembly = video(5), FaceAssembly()
    parts = parts_of(packets, 50)
    assert all(HEAD_BYTES < len(part) <= 50 for part in parts)
    assert [each for part in parts if (each := assembly.take(part))] == packets


def test_without_room_nothing_leaves() -> None:
    cutter = FaceParts()
    assert cutter.take(100) == b""
    cutter.put(video(1)[0])
    assert cutter.take(HEAD_BYTES) == b"" and cutter.left


@pytest.mark.parametrize("lost", range(1, 12, 3))
def test_after_a_loss_pictures_wait_for_the_next_key_picture(lost: int) -> None:
    packets, assembly = video(8, keys=(0, 5)), FaceAssembly()
    parts = parts_of(packets, 60)
    owner = [number for number, packet in enumerate(packets) for _ in range(-(-len(packet.body) // 57))]
    whole = [each for k, part in enumerate(parts) if k != lost and (each := assembly.take(part))]
    shown = [packets.index(each) for each in whole]
    broken = owner[lost]
    assert shown == [number for number in range(8) if number < broken or number >= (5 if broken < 5 else 8)]


@pytest.mark.parametrize("part", [b"", b"\x00\x00\x80", b"\x00\x00\xc3abc"])
def test_what_is_no_part_is_refused(part: bytes) -> None:
    with pytest.raises(MalformedPacket):
        FaceAssembly().take(part)


def test_a_picture_without_end_is_refused() -> None:
    assembly, number = FaceAssembly(), 0
    with pytest.raises(MalformedPacket):
        for number in range(MAX_BYTES):
            assembly.take(bytes([1, number % 256, 0x80 if number == 0 else 0]) + bytes(100))
    assert number * 100 <= MAX_BYTES


def test_content_keeps_a_packet() -> None:
    packet = video(1)[0]
    assert FacePacket.of_content(3, packet.content) == packet
    for wrong in (b"", bytes(13), b"\x23" + bytes(20), bytes(MAX_BYTES + 1)):
        with pytest.raises(MalformedPacket):
            FacePacket.of_content(3, wrong)


def test_landmarks_come_back_from_their_components() -> None:
    shapes = LandmarkShapes.load()
    steps = np.array([20, -31, 7, 0, 12, -5, 3, 0, 0, 9, -9, 2], np.int8)
    turn = np.array([[0, -1], [1, 0]], np.float32)
    pixels = (shapes.mean + np.einsum("k,kld->ld", steps, shapes.basis)) @ turn.T * 900 + [320, 200]
    found = shapes.decode(shapes.encode(pixels.astype(np.float32)))
    assert np.linalg.norm(laid_over(pixels, found) - found, axis=1).max() < 1.5e-3
    assert np.linalg.norm(laid_over(pixels, shapes.mean) - shapes.mean, axis=1).max() > 6e-3


def test_the_chart_has_the_face_in_its_middle() -> None:
    chart = FaceChart.load()
    for places in (chart.landmarks, chart.places[chart.opacity > 0.1]):
        assert places.min() > 0 and places.max() < 1
    left_eye, right_eye, nose, chin = chart.landmarks[[263, 33, 1, 152]]
    assert right_eye[0] < nose[0] < left_eye[0] and left_eye[1] < nose[1] < chin[1]
    # Between the lips there is a place for what is in the mouth.
    assert chart.landmarks[14, 1] - chart.landmarks[13, 1] > 0.05
