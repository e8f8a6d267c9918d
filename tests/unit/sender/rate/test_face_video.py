"""The live face on a link: what it takes, and what it does after a loss."""

import numpy as np
import pytest

from common.frames import Camera, LabelFrame, PersonLabels
from common.texture.face_picture import FaceAssembly, FacePacket, FaceVideoDecoder, LandmarkShapes
from sender.rate.controller import LEAST_FACES_BPS
from sender.rate.face_video import LiveFaces

HZ = 30
LANDMARKS = np.pad(LandmarkShapes.load().mean * 900, ((0, 42), (0, 1)))


def frame(number: int, people: int = 1, side: int = 128) -> LabelFrame:
    rng = np.random.default_rng(0)
    still = rng.integers(0, 255, (8, 8, 3), np.uint8).repeat(side // 8, axis=0).repeat(side // 8, axis=1)
    moved = np.roll(still, number % 7, axis=1)
    persons = tuple(PersonLabels(k, 1.0, {}, face_landmarks=LANDMARKS, face_chart=moved) for k in range(people))
    return LabelFrame(number, "camera", 1e9 + number / HZ, Camera(640, 480, 500.0), persons)


def sent(bps: float, seconds: float = 8.0, people: int = 1) -> tuple[list[bytes], list[FacePacket]]:
    faces, assembly = LiveFaces(), FaceAssembly()
    parts = [faces.part(frame(k, people), bps, 15, k / HZ) for k in range(round(HZ * seconds))]
    return parts, [packet for part in parts if part and (packet := assembly.take(part))]


@pytest.mark.parametrize("bps", [4_000.0, 12_000.0, 48_000.0])
def test_no_more_leaves_than_there_is_room_for(bps: float) -> None:
    parts, packets = sent(bps)
    assert 0.5 < 8 * sum(map(len, parts[HZ:])) / 7 / bps < 1.1
    # Never many bytes at once: labels wait behind them.
    assert max(map(len, parts)) <= 1.5 * bps / 8 / HZ + 4
    assert 2 < len(packets) / 8 <= 15.5


def test_pictures_can_be_decoded_and_the_first_is_a_key_picture() -> None:
    _, packets = sent(24_000.0)
    decoder = FaceVideoDecoder()
    assert [packet.key for packet in packets[:4]] == [True, False, False, False]
    assert all(decoder.decode(each.data, each.side, key=each.key) is not None for each in packets)


def test_below_what_is_worth_showing_nothing_leaves() -> None:
    assert not any(sent(0.9 * LEAST_FACES_BPS)[0])


def test_faces_share_what_there_is() -> None:
    _, packets = sent(24_000.0, people=3)
    counts = np.bincount([packet.identity for packet in packets])
    assert len(counts) == 3 and counts.min() > 0.7 * counts.max()


def test_after_a_loss_a_key_picture_comes_at_once() -> None:
    faces, assembly = LiveFaces(), FaceAssembly()
    came = dict[int, FacePacket]()
    for number in range(4 * HZ):
        if number == 2 * HZ:
            faces.restart()
        part = faces.part(frame(number), 16_000.0, 15, number / HZ)
        if part and number != 2 * HZ - 1 and (packet := assembly.take(part)):
            came[number] = packet
    after = [packet.key for number, packet in came.items() if number > 2 * HZ]
    first = min(number for number, packet in came.items() if number > 2 * HZ and packet.key)
    assert after[0] and (first - 2 * HZ) / HZ < 0.5


def test_who_has_no_face_sends_none() -> None:
    nobody = LabelFrame(0, "camera", 1e9, Camera(640, 480, 500.0), (PersonLabels(0, 1.0, {}),))
    assert LiveFaces().part(nobody, 48_000.0, 15, 0.0) == b""
