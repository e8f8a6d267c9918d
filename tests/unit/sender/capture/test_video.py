"""Colours of HDR videos are those of the SDR picture that they were made from."""

import io
import logging
import re
import socket
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import pytest
from av.codec.context import Flags
from PIL import Image as PillowImage

from common.arrays import FloatArray, Image
from common.clock import Clock
from common.errors import SourceError
from sender.capture.images import ImageSource, read_image
from sender.capture.open import open_source
from sender.capture.source import CapturedFrame
from sender.capture.video import AnimationSource, VideoFileSource
from sender.metrics import SenderMetrics
from tests.support.pictures.clips import write_clip
from tests.unit.common.imaging.test_pictures import ORIENTATIONS
from tests.unit.sender.capture.test_images import HEIC, STORED_AS, claim

# From the primaries of BT.709 to those of BT.2020, both linear (BT.2087).
TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])


def pq(light: FloatArray) -> FloatArray:
    """The signal of white at 203 cd/m² (BT.2100, BT.2408)."""
    power = (light * 203 / 10_000) ** (2610 / 16384)
    return np.asarray(((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32))


def hlg(light: FloatArray) -> FloatArray:
    """The signal of white at 75 %, of the light of the scene."""
    light = light * 0.26496
    logarithmic = 0.17883277 * np.log(np.maximum(12 * light - 0.28466892, 1e-9)) + 0.55991073
    return np.where(light <= 1 / 12, np.sqrt(3 * light), logarithmic)


def patches() -> Image:
    """Forty-eight colours, black, white and the primaries among them."""
    colours = np.random.default_rng(0).integers(0, 256, (6, 8, 3))
    colours[0, :5] = (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255)
    return np.kron(colours, np.ones((16, 16, 1))).astype(np.uint8)


@pytest.mark.parametrize(("signal", "transfer"), [(pq, "smpte2084"), (hlg, "arib-std-b67")])
def test_colours_are_those_of_the_sdr_picture(tmp_path: Path, signal: Any, transfer: str) -> None:
    sdr = patches()
    levels = sdr / 255
    light = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4) @ TO_2020.T
    coded = np.rint(65_535 * np.clip(signal(np.clip(light, 0, None)), 0, 1)).astype(np.uint16)
    # Without B-frames and threads the one packet always has a time of decoding.
    parameters = (
        f"log-level=none:bframes=0:frame-threads=1:pools=none:colorprim=bt2020:transfer={transfer}:colormatrix=bt2020nc"
    )
    with av.open(str(tmp_path / "hdr.mp4"), "w") as container:
        stream = cast(Any, container.add_stream("libx265", rate=10, options={"x265-params": parameters, "crf": "6"}))
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p10le"
        frame = av.VideoFrame.from_ndarray(coded, format="rgb48le").reformat(format="yuv420p10le", dst_colorspace=9)
        frame.pts, frame.time_base, frame.colorspace = 0, Fraction(1, 10), 9
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with VideoFileSource(tmp_path / "hdr.mp4") as source:
        (shown,) = source
    difference = shown.image[8::16, 8::16].astype(int) - sdr[8::16, 8::16]
    assert np.abs(difference).max() <= 8 and abs(difference.mean()) < 1


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


KINDS = ("gif", "png", "webp", "avif")
COLOURS = ((200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0))
DURATIONS_MS = (200, 50, 300, 100)


def moving(path: Path, durations_ms: Sequence[int] = DURATIONS_MS, pictures: int = 4) -> Path:
    """Noise, of which a cut file keeps some pictures, in changing colours."""
    noise = np.random.default_rng(5).integers(0, 40, (pictures, 48, 64, 1))
    images = [
        PillowImage.fromarray((COLOURS[n % 4] + noise[n]).astype(np.uint8)).convert("RGB") for n in range(pictures)
    ]
    options: dict[str, Any] = {"lossless": True} if path.suffix == ".webp" else {}
    images[0].save(path, save_all=True, append_images=images[1:], duration=list(durations_ms), **options)
    return path


def cut(path: Path, share: float = 0.6) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path


def frames_of(path: Path) -> list[CapturedFrame]:
    with open_source(str(path)) as source:
        return list(source)


def likeliest(frame: CapturedFrame) -> tuple[int, ...]:
    """The one of `COLOURS` that a frame has."""
    mean = frame.image.reshape(-1, 3).mean(axis=0)
    return min(COLOURS, key=lambda colour: float(np.abs(mean - colour).sum()))


@pytest.mark.parametrize("kind", KINDS)
def test_every_picture_is_a_frame_at_its_time(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    path = moving(tmp_path / f"wave.{kind}")
    with open_source(str(path)) as source:
        assert (source.stills, source.live, source.length) == (False, False, 4)
        assert source.fps == pytest.approx(4 / 0.65)
        frames = list(source)
    assert [frame.media_time_s for frame in frames] == pytest.approx([0.0, 0.2, 0.25, 0.55])
    assert [likeliest(frame) for frame in frames] == list(COLOURS)
    assert {(frame.source, frame.image.shape) for frame in frames} == {(f"wave.{kind}", (48, 64, 3))}
    assert not caplog.records


@pytest.mark.parametrize("kind", ["gif", "png", "webp"])
def test_times_that_were_left_out_are_those_of_browsers(tmp_path: Path, kind: str) -> None:
    frames = frames_of(moving(tmp_path / f"a.{kind}", (0, 10, 20, 100)))
    assert [frame.media_time_s for frame in frames] == pytest.approx([0.0, 0.1, 0.2, 0.22])


@pytest.mark.parametrize("kind", ["gif", "png", "webp", "avif"])
def test_what_is_left_of_a_cut_animation_is_played(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    frames = frames_of(cut(moving(tmp_path / f"a.{kind}", 12 * (100,), pictures=12)))
    assert 1 <= len(frames) < 12
    assert [likeliest(frame) for frame in frames] == [COLOURS[n % 4] for n in range(len(frames))]
    assert "cut" in caplog.text and f"a.{kind}" in caplog.text


RED, GREEN, BLUE, WHITE = [200, 0, 0], [0, 200, 0], [0, 0, 200], [255, 255, 255]


@pytest.mark.parametrize(("disposal", "behind"), [(1, GREEN), (2, WHITE), (3, RED)])
def test_pictures_of_a_gif_are_composed(tmp_path: Path, disposal: int, behind: list[int]) -> None:
    """Each is a rectangle of one colour: all, the right half, and the upper row."""
    content = b"GIF89a" + struct.pack("<HHBBB", 64, 48, 0xF1, 0, 0) + bytes(WHITE + RED + GREEN + BLUE)
    for colour, left, width, height, kept in ((1, 0, 64, 48, 1), (2, 32, 32, 48, disposal), (3, 0, 64, 1, 1)):
        content += b"\x21\xf9\x04" + struct.pack("<BHBB", kept << 2, 10, 0, 0)
        content += b"," + struct.pack("<HHHHB", left, 0, width, height, 0) + b"\x02"
        # LZW without matches: codes of 3 bits, and a clear code (4) before they grow.
        codes = [code for _ in range(width * height // 2) for code in (4, colour, colour)] + [5]
        bits = sum(code << 3 * place for place, code in enumerate(codes))
        data = bits.to_bytes(3 * len(codes) // 8 + 1, "little")
        content += b"".join(bytes([len(data[at : at + 255])]) + data[at : at + 255] for at in range(0, len(data), 255))
        content += b"\0"
    (tmp_path / "a.gif").write_bytes(content + b";")
    images = [frame.image for frame in frames_of(tmp_path / "a.gif")]
    assert (images[1][24, 10] == RED).all() and (images[1][24, 50] == GREEN).all()
    assert (images[2][24, 10] == RED).all() and (images[2][24, 50] == behind).all() and (images[2][0] == BLUE).all()


@pytest.mark.parametrize("kind", ["gif", "png", "webp"])
def test_transparent_pixels_become_white(tmp_path: Path, kind: str) -> None:
    images = [PillowImage.new("RGBA", (64, 48), (200, 0, 0, alpha)) for alpha in (0, 255)]
    images[0].save(tmp_path / f"a.{kind}", save_all=True, append_images=images[1:], duration=100, lossless=True)
    first, second = frames_of(tmp_path / f"a.{kind}")
    assert (first.image == 255).all() and np.abs(second.image[0, 0].astype(int) - (200, 0, 0)).max() < 4


def test_metadata_of_an_apng_turns_its_pictures(tmp_path: Path) -> None:
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    pictures = [PillowImage.new("RGB", (64, 48), colour) for colour in COLOURS]
    pictures[0].save(tmp_path / "a.png", save_all=True, append_images=pictures[1:], exif=exif)
    frames = frames_of(tmp_path / "a.png")
    assert [(frame.image.shape, likeliest(frame)) for frame in frames] == [((64, 48, 3), each) for each in COLOURS]


def test_picture_for_programs_that_play_no_apng_is_left_out(tmp_path: Path) -> None:
    images = [PillowImage.new("RGB", (64, 48), colour) for colour in COLOURS]
    images[0].save(tmp_path / "a.png", save_all=True, default_image=True, append_images=images[1:], duration=100)
    assert [likeliest(frame) for frame in frames_of(tmp_path / "a.png")] == list(COLOURS[1:])


@pytest.mark.parametrize("kind", ["gif", "png"])
def test_animation_that_is_too_large_is_refused_before_it_is_decoded(tmp_path: Path, kind: str) -> None:
    path = moving(tmp_path / f"a.{kind}")
    if kind == "png":
        claim(path, 60_000, 60_000)
    else:
        content = path.read_bytes()
        path.write_bytes(content[:6] + b"\xff" * 4 + content[10:])
    with pytest.raises(SourceError, match=f"a.{kind}.*(too large|exceeds limit)"):
        frames_of(path)


def test_pages_are_pictures_of_their_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pages = [PillowImage.new("RGB", (64 + n, 48), colour) for n, colour in enumerate(COLOURS)]
    pages[0].save(tmp_path / "scan.tif", save_all=True, append_images=pages[1:])
    with open_source(str(tmp_path / "scan.tif")) as source:
        frames = list(source)
        assert source.stills and source.length == 4
    assert [frame.source for frame in frames] == ["scan.tif", "scan.tif (2)", "scan.tif (3)", "scan.tif (4)"]
    assert [likeliest(frame) for frame in frames] == list(COLOURS)
    assert [frame.image.shape[1] for frame in frames] == [64, 65, 66, 67]
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        read_image(tmp_path / "scan.tif")
    assert "scan.tif has 4 pictures, of which the first is used" in caplog.text


def test_smaller_copies_are_no_pages(tmp_path: Path) -> None:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    path, copy = tmp_path / "a.tif", ImageFileDirectory_v2()
    copy[254] = 1
    large, small = PillowImage.new("RGB", (64, 48), COLOURS[0]), PillowImage.new("RGB", (16, 12), COLOURS[0])
    small.encoderinfo = {"tiffinfo": copy}
    large.save(path, save_all=True, append_images=[small])
    assert [frame.image.shape for frame in frames_of(path)] == [(48, 64, 3)]


def test_animation_among_images_is_its_first_picture_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    moving(tmp_path / "b.gif")
    PillowImage.new("RGB", (64, 48), COLOURS[2]).save(tmp_path / "a.png")
    for camera in (tmp_path, tmp_path / "*.[gp]*"):
        frames = frames_of(camera)
        assert [frame.source for frame in frames] == ["a.png", "b.gif"]
    assert caplog.text.count("b.gif has 4 pictures, of which the first is used: give the file alone") == 2
    (tmp_path / "a.png").unlink()
    assert len(frames_of(tmp_path)) == 4


def test_previews_beside_a_photograph_are_not_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Such as the map of the light that phones write; the other view of a stereo camera is."""
    images = [PillowImage.new("RGB", (64, 48), colour) for colour in COLOURS[:2]]
    path = tmp_path / "a.jpg"
    images[0].save(path, "MPO", save_all=True, append_images=images[1:])
    (frame,) = frames_of(path)
    assert likeliest(frame) == COLOURS[0] and not caplog.records
    content = bytearray(path.read_bytes())
    entries = content.index(b"MPF\0") + 4
    first = content.index(b"\x00\x00\x03\x00", content.index(b"0100", entries))
    for at in (first, first + 16):
        content[at : at + 4] = b"\x02\x00\x02\x00"
    path.write_bytes(content)
    assert len(frames_of(path)) == 1 and "a.jpg has 2 pictures" in caplog.text


def test_sequence_of_a_phone_is_played(tmp_path: Path) -> None:
    images = [np.full((64, 64, 3), colour, np.uint8) for colour in COLOURS]
    quiet = {"x265-params": "log-level=none"}
    path, content = (
        tmp_path / "burst.heic",
        write_clip(tmp_path / "a.mp4", images, "libx265", fps=5, options=quiet).read_bytes(),
    )
    head = b"\x00\x00\x00\x1cftypmsf1\0\0\0\0msf1hevciso8"
    assert len(head) == int.from_bytes(content[:4], "big")
    path.write_bytes(head + content[len(head) :].replace(b"\0vide\0", b"\0pict\0"))
    with open_source(str(path)) as source:
        assert isinstance(source, VideoFileSource)
        frames = list(source)
    assert [frame.media_time_s for frame in frames] == pytest.approx([0.0, 0.2, 0.4, 0.6])
    assert [likeliest(frame) for frame in frames] == list(COLOURS)
    with pytest.raises(SourceError, match=r"burst\.heic is not an image"):
        list(ImageSource([path]))


def box(kind: bytes, content: bytes, version: int | None = None) -> bytes:
    head = b"" if version is None else bytes([version, 0, 0, 0])
    return struct.pack(">I", 8 + len(head) + len(content)) + kind + head + content


def heic_of(pictures: int, extent: int | None = None) -> bytes:
    """The shipped HEIC with its picture several times, each as an item of its own."""
    source = HEIC.read_bytes()
    ipco, data, items = source[source.index(b"ipco") - 4 : source.index(b"ipma") - 4], source[417:555], range(pictures)

    def meta(offset: int) -> bytes:
        places = b"".join(struct.pack(">HHIHII", n + 1, 0, offset, 1, 0, extent or len(data)) for n in items)
        entries = b"".join(box(b"infe", struct.pack(">HH", n + 1, 0) + b"hvc1\0", 2) for n in items)
        shown = b"".join(struct.pack(">HB", n + 1, 5) + b"\x81\x02\x03\x05\x84" for n in items)
        iloc = box(b"iloc", b"\x44\x40" + struct.pack(">H", pictures) + places, 0)
        iinf = box(b"iinf", struct.pack(">H", pictures) + entries, 0)
        iprp = box(b"iprp", ipco + box(b"ipma", struct.pack(">I", pictures) + shown, 0))
        return box(b"meta", source[40:73] + iloc + iinf + box(b"pitm", b"\0\x01", 0) + iprp, 0)

    return source[:28] + meta(28 + len(meta(0)) + 8) + box(b"mdat", data)


def test_pictures_of_a_heic_are_pages(tmp_path: Path) -> None:
    (tmp_path / "burst.heic").write_bytes(heic_of(3))
    frames = frames_of(tmp_path / "burst.heic")
    assert [frame.source for frame in frames] == ["burst.heic", "burst.heic (2)", "burst.heic (3)"]
    assert {frame.image.shape for frame in frames} == {(48, 64, 3)}


def test_small_file_with_many_large_pictures_is_its_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sender.capture.video._MAX_PIXELS", 1000)
    path = moving(tmp_path / "a.gif")
    with open_source(str(path)) as source:
        assert isinstance(source, ImageSource)
    with pytest.raises(SourceError, match=r"a\.gif: its pictures have more than"):
        AnimationSource(path)
