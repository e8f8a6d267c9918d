import io
import re
import socket
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import pytest
from av.codec.context import Flags
from PIL import Image as PillowImage

from common.arrays import Image
from common.clock import Clock
from common.errors import SourceError
from sender.capture.video import VideoFileSource
from sender.metrics import SenderMetrics
from tests.support.pictures.clips import write_clip
from tests.unit.common.imaging.test_orientation import ORIENTATIONS
from tests.unit.sender.capture.test_images import STORED_AS


def checker(width: int, height: int) -> Image:
    """Red, green, blue and white quarters: upper left, upper right, lower left, lower right."""
    image = np.full((height, width, 3), 255, np.uint8)
    image[: height // 2, : width // 2], image[: height // 2, width // 2 :] = (255, 0, 0), (0, 255, 0)
    image[height // 2 :, : width // 2] = (0, 0, 255)
    return image


def quarters(image: Image) -> list[str]:
    """The colours of the quarters, in the order of `checker`."""
    height, width = image.shape[:2]
    points = [(y, x) for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4)]
    names = {(1, 0, 0): "red", (0, 1, 0): "green", (0, 0, 1): "blue", (1, 1, 1): "white"}
    return [names[tuple((image[point] > 127).astype(int))] for point in points]


def film(path: Path, frames: int = 5, codec: str = "mpeg4", b_frames: int = 0) -> Path:
    """A clip that changes from black to red."""
    levels = np.minimum(40 * np.arange(frames), 255)
    images = [np.full((48, 64, 3), (level, 0, 0), np.uint8) for level in levels]
    return write_clip(
        path, images, codec, prepare=lambda stream: setattr(stream.codec_context, "max_b_frames", b_frames)
    )


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


def test_file_that_is_no_video(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "clip.mp4"
    for content in (b"", b"this is text and no video at all\n" * 100, bytes(5000)):
        path.write_bytes(content)
        with pytest.raises(SourceError, match=r"cannot open .*clip\.mp4"):
            VideoFileSource(path)
    with pytest.raises(SourceError, match="No such file"):
        VideoFileSource(tmp_path / "gone.mp4")
    assert capfd.readouterr() == ("", "")


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


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_display_matrix_turns_and_mirrors(tmp_path: Path, orientation: int) -> None:
    stored = np.ascontiguousarray(STORED_AS[orientation](checker(64, 48)))
    a, b, c, d = (65_536 * each for each in ORIENTATIONS[orientation][2])
    matrix = [a, b, 0, c, d] + [0] * 4
    path = write_clip(tmp_path / "phone.mp4", [stored] * 2, prepare=lambda stream: stream.set_display_matrix(matrix))
    with VideoFileSource(path, focal_px=90.0) as source:
        frames = list(source)
    assert [frame.image.shape for frame in frames] == [(48, 64, 3)] * 2
    assert quarters(frames[0].image) == ["red", "green", "blue", "white"]
    assert (frames[0].camera.height, frames[0].camera.width, frames[0].camera.focal_px) == (48, 64, 90.0)
    assert frames[0].image.flags.c_contiguous


def test_display_matrix_that_is_none_is_ignored(tmp_path: Path) -> None:
    path = write_clip(
        tmp_path / "phone.mp4", [checker(64, 48)], prepare=lambda stream: stream.set_display_matrix([0] * 9)
    )
    with VideoFileSource(path) as source:
        assert quarters(next(iter(source)).image) == ["red", "green", "blue", "white"]


@pytest.mark.parametrize(
    ("aspect", "shape"),
    [
        (Fraction(4, 3), (48, 85)),
        (Fraction(1, 2), (96, 64)),
        (Fraction(1, 1), (48, 64)),
        (Fraction(1, 100), (48, 64)),
    ],
)
def test_pixels_become_square(tmp_path: Path, aspect: Fraction, shape: tuple[int, int]) -> None:
    def prepare(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = aspect

    with VideoFileSource(write_clip(tmp_path / "dv.mkv", [checker(64, 48)], prepare=prepare)) as source:
        image = next(iter(source)).image
    assert image.shape == (*shape, 3)
    assert quarters(image) == ["red", "green", "blue", "white"]


def test_resolution_that_changes_midway(tmp_path: Path) -> None:
    sizes = ((64, 48), (96, 80))
    parts = [write_clip(tmp_path / f"{width}.ts", [checker(width, height)] * 4) for width, height in sizes]
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with VideoFileSource(path) as source:
        frames = list(source)
    assert [(frame.camera.width, frame.camera.height) for frame in frames] == [(64, 48)] * 4 + [(96, 80)] * 4
    assert [frame.image.shape[:2] for frame in frames] == [(48, 64)] * 4 + [(80, 96)] * 4
    assert quarters(frames[-1].image) == ["red", "green", "blue", "white"]


def test_name_with_a_colon_is_no_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film(tmp_path / "concat:clip.mp4")
    monkeypatch.chdir(tmp_path)
    with VideoFileSource(Path("concat:clip.mp4")) as source:
        assert next(iter(source)).source == "concat:clip.mp4"


def test_playlist_opens_nothing_over_the_network(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        path = tmp_path / "list.m3u8"
        path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:{port}/a.ts\n#EXT-X-ENDLIST\n")
        with pytest.raises(SourceError, match=r"list\.m3u8"), VideoFileSource(path) as source:
            list(source)
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_close_ends_an_iteration(tmp_path: Path) -> None:
    with VideoFileSource(film(tmp_path / "clip.mp4")) as source:
        frames = iter(source)
        next(frames)
        source.close()
        assert list(frames) == []


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.video[0]) if packet.size]


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        (".avi", "mjpeg", {}),
        (".mp4", "libx264", {}),
        (".mp4", "libx265", {"x265-params": "log-level=none"}),
        (".webm", "libvpx-vp9", {}),
        (".mkv", "mpeg4", {}),
    ],
)
def test_damaged_packet_is_skipped_and_told(
    tmp_path: Path, suffix: str, codec: str, options: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    path = noise(tmp_path / f"clip{suffix}", codec, options)
    content, damaged = path.read_bytes(), packets(path)[8]
    path.write_bytes(content.replace(damaged, bytes(len(damaged))))
    metrics = SenderMetrics()
    with VideoFileSource(path, metrics=metrics) as source:
        frames = list(source)
    assert len(frames) == 19
    times = [frame.media_time_s for frame in frames]
    assert times[-1] == pytest.approx(1.9, abs=2e-3) and times == sorted(set(times))
    first, count = (record.getMessage() for record in caplog.records)
    assert re.search(r"clip\.\w+ is damaged at [01]\.\d0 s and goes on behind it", first)
    assert "of 20 frames 1 is damaged and left out" in count
    assert metrics.registry.get_sample_value("bodywire_sender_frames_total", {"fate": "unreadable"}) == 1


def noise(path: Path, codec: str = "libx264", options: dict[str, str] | None = None, muxer: str = "") -> Path:
    """Twenty frames of moving noise, ten a second; each packet is another."""
    base = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    return write_clip(path, [np.roll(base, 5 * index, 1) for index in range(20)], codec, options=options, muxer=muxer)


@pytest.mark.parametrize(
    ("suffix", "codec", "muxer"),
    [
        (".mkv", "libx264", ""),
        (".webm", "libvpx-vp9", ""),
        (".mp4", "libx264", "faststart"),
        (".mp4", "libx264", "frag_keyframe+empty_moov"),
        (".avi", "mjpeg", ""),
        (".ts", "libx264", ""),
    ],
)
def test_file_that_is_cut_plays_and_says_so(
    tmp_path: Path, suffix: str, codec: str, muxer: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = noise(tmp_path / f"clip{suffix}", codec, {"g": "5"}, muxer)
    with VideoFileSource(path) as source:
        assert len(list(source)) == 20
    assert caplog.records == []
    content = path.read_bytes()
    path.write_bytes(content[: int(0.7 * len(content))])
    with VideoFileSource(path) as source:
        assert 3 < len(list(source)) < 20
    assert "is cut: it ends after" in caplog.records[-1].getMessage()


def test_file_without_its_table_of_contents_is_told_from_no_video(tmp_path: Path) -> None:
    path = noise(tmp_path / "clip.mp4")
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(SourceError, match=r"cannot open .*clip\.mp4: .*; it is no video, or cut"):
        VideoFileSource(path)


def test_times_that_begin_again_go_on(tmp_path: Path) -> None:
    content = noise(tmp_path / "part.ts").read_bytes()
    (tmp_path / "whole.ts").write_bytes(3 * content)
    with VideoFileSource(tmp_path / "whole.ts") as source:
        times = [frame.media_time_s for frame in source]
    assert times == pytest.approx(np.arange(60) / 10, abs=2e-3)


@pytest.mark.parametrize(
    ("times", "expected"),
    [([3.0, 3.1, 7.0, 7.05, 12.0], [0.0, 0.1, 4.0, 4.05, 9.0]), ([0.0, 0.1, 9e6, 9e6 + 0.1], [0.0, 0.1, 0.2, 0.3])],
    ids=["pauses", "times of no clip"],
)
def test_pauses_of_a_file_are_kept_and_are_no_cut(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, times: list[float], expected: list[float]
) -> None:
    write_clip(tmp_path / "slides.mkv", [checker(64, 48)] * len(times), times_s=times)
    with VideoFileSource(tmp_path / "slides.mkv") as source:
        assert [frame.media_time_s for frame in source] == pytest.approx(expected, abs=2e-3)
    assert caplog.records == []


def write_motion_jpeg(path: Path, pictures: list[bytes]) -> Path:
    """A video of JPEG files."""
    with av.open(str(path), "w") as container:
        stream = cast(Any, container.add_stream("mjpeg", rate=10))
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuvj420p"
        stream.encode(av.VideoFrame(64, 64, "yuvj420p"))
        for index, data in enumerate(pictures):
            packet = av.Packet(data)
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, index, index, Fraction(1, 10)
            container.mux(packet)
    return path


def test_frames_that_grow_are_refused_before_they_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = []
    for side in (64, 64, 400):
        PillowImage.new("RGB", (side, side)).save(jpeg := io.BytesIO(), "JPEG")
        pictures.append(jpeg.getvalue())
    write_motion_jpeg(tmp_path / "grows.mkv", pictures)
    monkeypatch.setattr("sender.capture.video.MAX_PIXELS", 100_000)
    with VideoFileSource(tmp_path / "grows.mkv") as source:
        frames = iter(source)
        assert [next(frames).image.shape for _ in range(2)] == [(64, 64, 3)] * 2
        with pytest.raises(SourceError, match=r"grows\.mkv: frame 2: it is larger than"):
            next(frames)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("suffix", [".avi", ".mov"])
def test_metadata_within_motion_jpeg_turns_and_hides_nothing(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif, jpeg = PillowImage.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED_AS[orientation](checker(64, 48)))
    PillowImage.fromarray(stored).save(jpeg, "JPEG", exif=exif)
    path = write_motion_jpeg(tmp_path / f"clip{suffix}", [jpeg.getvalue()] * 3)
    with VideoFileSource(path) as source:
        assert [quarters(frame.image) for frame in source] == [["red", "green", "blue", "white"]] * 3


def two_fields(step: int) -> Image:
    """A bright bar that moves by 13 pixels from the even rows, which were taken first, to the odd ones."""
    image = np.full((96, 320, 3), 30, np.uint8)
    for row in range(2):
        left = 20 + 26 * step + 13 * row
        image[row::2, left : left + 40] = (60, 120, 220)
    return image


@pytest.mark.parametrize(("suffix", "codec", "aspect"), [(".mp4", "libx264", 2), (".mpg", "mpeg2video", 1)])
def test_interlaced_frames_become_whole(tmp_path: Path, suffix: str, codec: str, aspect: int) -> None:
    def prepare(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(aspect)
        stream.codec_context.flags |= Flags.interlaced_dct | Flags.interlaced_me

    path = write_clip(tmp_path / f"camcorder{suffix}", list(map(two_fields, range(8))), codec, fps=25, prepare=prepare)
    with VideoFileSource(path) as source:
        frames = list(source)
    assert [frame.media_time_s for frame in frames] == pytest.approx(np.arange(8) / 25, abs=2e-3)
    for frame in frames:
        assert frame.image.shape == (96, 320 * aspect, 3)
        bar = frame.image[40:56][frame.image[40:56, :, 2] > 180]
        assert np.median(bar, axis=0) == pytest.approx([60, 120, 220], abs=12)
        lefts = np.argmax(frame.image[40:56, :, 2] > 125, axis=1)
        assert np.ptp(lefts) <= 2 * aspect


def test_frames_that_become_interlaced_and_grow(tmp_path: Path) -> None:
    small, large, fields = [checker(64, 48)] * 8, [checker(96, 96)] * 8, {"x264-params": "tff=1"}
    parts = [
        write_clip(tmp_path / "a.ts", small, fps=25),
        write_clip(tmp_path / "b.ts", small, fps=25, options=fields),
        write_clip(tmp_path / "c.ts", large, fps=25, options=fields),
        write_clip(tmp_path / "d.ts", small, fps=25),
    ]
    path = tmp_path / "all.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with VideoFileSource(path) as source:
        frames = list(source)
    assert [frame.image.shape[1] for frame in frames] == [64] * 16 + [96] * 8 + [64] * 8
    assert {tuple(quarters(frame.image)) for frame in frames} == {("red", "green", "blue", "white")}
    assert np.all(np.diff([frame.media_time_s for frame in frames]) > 0)
