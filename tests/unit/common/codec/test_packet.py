import pytest

from common.codec.packet import (
    KEY,
    MAX_PACKET_BYTES,
    References,
    Scene,
    body_of,
    check_seed,
    code_references,
    code_scene,
    rounded_camera,
    seal,
    shorten_source,
    verify,
)
from common.codec.range_coder import SymbolReader, SymbolWriter
from common.codec.tables import load
from common.errors import ChecksumMismatch, MalformedPacket
from common.frames import Camera

SCENE = Scene(Camera(640, 480, 600.5), "clip é.mp4", (3, 0, 255))
SEED = check_seed(b"hash", (7,), (1, 2))


def test_references_round_trip() -> None:
    for lags in (KEY, *(References(lag, gap) for lag in (1, 2, 5, 70, 1 << 20) for gap in (0, 1, 9))):
        writer = SymbolWriter(load())
        code_references(writer, lags)
        assert code_references(SymbolReader(load(), writer.finish()), None) == lags
        assert lags != References(2, 1) or writer.bits < 2


@pytest.mark.parametrize("before", [None, SCENE, Scene(Camera(9, 9, 9.0), "b", (3,)), Scene(SCENE.camera, "b", (3,))])
def test_scene_round_trip(before: Scene | None) -> None:
    writer = SymbolWriter(load())
    code_scene(writer, before, SCENE)
    assert code_scene(SymbolReader(load(), writer.finish()), before, None) == SCENE
    assert before != SCENE or writer.bits < 0.1
    writer, empty = SymbolWriter(load()), Scene(Camera(1, 65_536, 1.0), "", ())
    code_scene(writer, before, empty)
    assert code_scene(SymbolReader(load(), writer.finish()), before, None) == empty


@pytest.mark.parametrize(
    ("scene", "match"),
    [
        (Scene(SCENE.camera, "x", (4, 4)), "an identity twice"),
        (Scene(SCENE.camera, "x", tuple(range(33))), "more than 32"),
    ],
)
def test_inconsistent_scene_is_refused(scene: Scene, match: str) -> None:
    with pytest.raises(MalformedPacket, match=match):
        code_scene(SymbolWriter(load()), None, scene)


def test_each_single_bit_error_is_found() -> None:
    payload = seal(b"some bytes of labels", SEED)
    verify(payload, SEED)
    for bit in range(8 * len(payload)):
        damaged = bytearray(payload)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ChecksumMismatch):
            verify(bytes(damaged), SEED)


def test_packets_of_absurd_length_are_refused() -> None:
    with pytest.raises(MalformedPacket, match="65537 bytes"):
        body_of(bytes(MAX_PACKET_BYTES + 1))
    with pytest.raises(MalformedPacket, match="1 bytes"):
        body_of(b"x")


def test_scene_is_rounded_to_what_a_packet_holds() -> None:
    short = shorten_source("é" * 200 + "end")
    assert short.endswith("end") and len(short.encode()) <= 255
    assert shorten_source("\udc80x") == "?x"
    focal_px = rounded_camera(Camera(4, 4, 0.1)).focal_px
    assert focal_px == pytest.approx(0.1, rel=1e-7) and focal_px != 0.1
