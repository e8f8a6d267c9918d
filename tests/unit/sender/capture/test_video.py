from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import av
import numpy as np
import pytest

from common.clock import Clock
from common.errors import SourceError
from sender.capture.video import VideoFileSource, upright_rgb


def film(path: Path, frames: int = 5, fps: int = 10, codec: str = "mpeg4", b_frames: int = 0) -> Path:
    """A clip that changes from black to red."""
    with av.open(str(path), "w") as container:
        stream = cast(Any, container.add_stream(codec, rate=fps))
        stream.codec_context.max_b_frames = b_frames
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(frames):
            image = np.zeros((48, 64, 3), np.uint8)
            image[:, :, 0] = min(40 * index, 255)
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_file_yields_every_frame_with_its_time(tmp_path: Path, suffix: str) -> None:
    path = film(tmp_path / f"clip{suffix}")
    with VideoFileSource(path, clock=Clock(wall=lambda: 50.0)) as source:
        assert source.fps == pytest.approx(10.0)
        frames = list(source)
    assert not source.live
    assert [frame.sequence for frame in frames] == [0, 1, 2, 3, 4]
    assert [frame.media_time_s for frame in frames] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4], abs=2e-3)
    assert {(frame.source, frame.captured_at) for frame in frames} == {(path.name, 50.0)}
    assert frames[0].image.shape == (48, 64, 3)
    assert frames[0].image.dtype == np.uint8
    for index, frame in enumerate(frames):
        assert frame.image[:, :, 0].mean() == pytest.approx(40 * index, abs=12)
        assert frame.image[:, :, 2].mean() < 12
    assert (frames[0].camera.width, frames[0].camera.height) == (64, 48)
    assert frames[0].camera.focal_px == pytest.approx(76.8)


def test_times_do_not_decrease_where_the_file_has_decoding_times(tmp_path: Path) -> None:
    path = film(tmp_path / "clip.avi", frames=12, codec="libx264", b_frames=2)
    with av.open(str(path)) as container:
        stored = [frame.time for frame in container.decode(video=0)]
    assert stored != sorted(stored), "this file no longer has the problem"
    with VideoFileSource(path) as source:
        times = [frame.media_time_s for frame in source]
    assert times == pytest.approx(np.arange(12) / 10, abs=2e-3)


def test_given_focal_length_is_used(tmp_path: Path) -> None:
    with VideoFileSource(film(tmp_path / "clip.mp4"), focal_px=90.0) as source:
        assert next(iter(source)).camera.focal_px == 90.0


@pytest.mark.parametrize("content", [b"", b"this is text and no video at all\n" * 100, bytes(5000)])
def test_file_that_is_no_video(tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"cannot open .*clip\.mp4"):
        VideoFileSource(path)
    assert capfd.readouterr() == ("", "")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        VideoFileSource(tmp_path / "gone.mp4")


def test_file_without_video_stream(tmp_path: Path) -> None:
    path = tmp_path / "song.wav"
    with av.open(str(path), "w") as container:
        stream = cast(Any, container.add_stream("pcm_s16le", rate=8000))
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        samples.sample_rate = 8000
        for packet in [*stream.encode(samples), *stream.encode()]:
            container.mux(packet)
    with pytest.raises(SourceError, match=r"song\.wav has no video stream"):
        VideoFileSource(path)


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_truncated_file_yields_first_frames_or_source_error(tmp_path: Path, keep: float) -> None:
    path = film(tmp_path / "clip.avi", frames=30)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    frames = []
    try:
        with VideoFileSource(path) as source:
            for frame in source:
                frames.append(frame.sequence)
    except SourceError as error:
        assert "clip.avi" in str(error)
    assert frames == list(range(len(frames)))
    assert len(frames) < 30


@pytest.mark.parametrize("seed", range(20))
def test_corrupted_file_raises_only_source_error(tmp_path: Path, seed: int) -> None:
    path = film(tmp_path / "clip.mp4", frames=8)
    generator = np.random.default_rng(seed)
    content = bytearray(path.read_bytes())
    for position in generator.integers(0, len(content), 60):
        content[position] = generator.integers(0, 256)
    path.write_bytes(bytes(content))
    sequences = []
    try:
        with VideoFileSource(path) as source:
            sequences = [frame.sequence for frame in source]
    except SourceError as error:
        assert "clip.mp4" in str(error)
    assert sequences == list(range(len(sequences)))


@pytest.mark.parametrize(
    ("rotation", "corner"), [(0, (0, 0)), (90, (-1, 0)), (180, (-1, -1)), (-180, (-1, -1)), (-90, (0, -1))]
)
def test_upright_rgb_rotates_counterclockwise_by_display_matrix(rotation: int, corner: tuple[int, int]) -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    image[0, 0] = 255
    frame = SimpleNamespace(rotation=rotation, to_ndarray=lambda format: image, time=Fraction(0))
    upright = upright_rgb(cast(av.VideoFrame, frame))
    assert upright.shape == ((4, 6, 3) if rotation % 180 == 0 else (6, 4, 3))
    assert upright[corner].all()
    assert upright.flags.c_contiguous
