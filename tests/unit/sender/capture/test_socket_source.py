"""Pictures that other programs send over a Unix socket."""

import io
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from common.clock import Clock
from common.errors import SourceError
from common.wire.pictures import (
    ANSWER_PREFIX,
    MESSAGE_PREFIX,
    PictureAccepted,
    PictureAnswer,
    PictureHeader,
    PictureRefused,
    decode_answer,
    encode_picture,
)
from sender.capture import picture_socket
from sender.capture.open import open_source
from sender.capture.picture_socket import MAX_CONNECTIONS, PictureServer
from sender.capture.socket_source import SocketSource
from sender.capture.source import CapturedFrame
from sender.config import CaptureConfig
from sender.metrics import SenderMetrics

CLOCK = Clock(monotonic=lambda: 7.0, wall=lambda: 1000.0)


def picture(width: int = 6, height: int = 4, colour: int = 200, orientation: int = 1, kind: str = "PNG") -> bytes:
    image, exif, out = PillowImage.new("RGB", (width, height), (colour, 0, 0)), PillowImage.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    image.save(out, kind, exif=exif)
    return out.getvalue()


class Program:
    """A program that sends pictures."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(20)
        self.socket.connect(str(path))

    def write(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def answer(self) -> PictureAnswer:
        (size,) = ANSWER_PREFIX.unpack(self.read(ANSWER_PREFIX.size))
        return decode_answer(self.read(size))

    def send(self, image: bytes, **fields: object) -> PictureAnswer:
        self.write(encode_picture(PictureHeader(**fields), image))  # type: ignore[arg-type]
        return self.answer()

    def ended(self) -> bool:
        """Whether the sender has ended the connection."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True


def ask(path: Path, image: bytes) -> PictureAnswer:
    """The answer to one picture, on a connection of its own."""
    program = Program(path)
    with program.socket:
        return program.send(image)


class Bench:
    """A source, whose frames are taken on demand, and the programs that send to it."""

    def __init__(self, path: Path, live: bool) -> None:
        self.path = path
        self.metrics = SenderMetrics()
        self.source = SocketSource(path, live=live, metrics=self.metrics, clock=CLOCK)
        self.frames = iter(self.source)
        self._programs: list[Program] = []

    def program(self) -> Program:
        self._programs.append(Program(self.path))
        return self._programs[-1]

    def close(self) -> None:
        self.source.close()
        for program in self._programs:
            program.socket.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    benches: list[Bench] = []

    def new(*, live: bool = False) -> Bench:
        benches.append(Bench(tmp_path / f"in{len(benches)}.sock", live))
        return benches[-1]

    yield new
    for each in benches:
        each.close()


def test_picture_becomes_a_frame(bench: Callable[..., Bench]) -> None:
    stills = bench()
    answer = stills.program().send(picture(orientation=6), name="a.png", captured_at=4e8, focal_px=9.0)
    frame = next(stills.frames)
    # Upright: the EXIF orientation exchanges the sides.
    assert answer == PictureAccepted("a.png", 4, 6)
    assert (frame.sequence, frame.source, frame.captured_at, frame.media_time_s) == (0, "a.png", 4e8, 0.0)
    assert frame.image.shape == (6, 4, 3) and (frame.image == [200, 0, 0]).all()
    assert (frame.camera.width, frame.camera.height, frame.camera.focal_px) == (4, 6, 9.0)
    assert not stills.source.live and stills.source.stills


def test_live_camera_keeps_the_newest_frame(bench: Callable[..., Bench]) -> None:
    camera = bench(live=True)
    program = camera.program()
    for colour in (10, 20, 30):
        assert program.send(picture(colour=colour)) == PictureAccepted("in0", 6, 4)
    newest = next(camera.frames)
    assert (newest.sequence, newest.image[0, 0, 0]) == (0, 30) and newest.is_late
    program.send(picture(colour=40))
    following = next(camera.frames)
    assert (following.sequence, following.source, following.image[0, 0, 0]) == (1, "in0", 40) and not following.is_late
    counted = camera.metrics.registry.get_sample_value
    assert counted("bodywire_sender_frames_total", {"fate": "replaced"}) == 2
    assert camera.source.live and not camera.source.stills


def test_bad_picture_is_refused_and_the_connection_goes_on(bench: Callable[..., Bench]) -> None:
    # A header of 50,000 × 50,000 pixels before a few bytes.
    bomb = picture()[:16] + struct.pack(">II", 50_000, 50_000) + picture()[24:]
    stills = bench()
    program = stills.program()
    for data in (b"GIF89a no picture", picture()[:60], b"\x89PNG\r\n\x1a\n" + bytes(400), bomb):
        answer = program.send(data)
        assert isinstance(answer, PictureRefused) and "the picture" in answer.reason and "\n" not in answer.reason
    header = b'{"focus": 3}'
    program.write(MESSAGE_PREFIX.pack(len(header), 3) + header + b"abc")
    answer = program.answer()
    assert isinstance(answer, PictureRefused) and "Unexpected" in answer.reason
    assert program.send(picture(), name="good") == PictureAccepted("good", 6, 4)
    counted = stills.metrics.registry.get_sample_value
    assert counted("bodywire_sender_frames_total", {"fate": "unreadable"}) == 4


@pytest.mark.parametrize("prefix", [b"GET / HTTP/1.1\r\n\r\n", MESSAGE_PREFIX.pack(2, 2**31), bytes(8)])
def test_garbage_is_answered_and_ends_the_connection_alone(bench: Callable[..., Bench], prefix: bytes) -> None:
    stills = bench()
    hostile, other = stills.program(), stills.program()
    hostile.write(prefix + bytes(100_000))
    answer = hostile.answer()
    assert isinstance(answer, PictureRefused) and "bytes, not" in answer.reason
    hostile.socket.shutdown(socket.SHUT_WR)
    assert hostile.ended()
    assert isinstance(other.send(picture()), PictureAccepted)


def test_slow_writer_is_given_up(bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_socket, "_TIMEOUT_S", 0.05)
    program = bench().program()
    program.write(b"\x02")
    answer = program.answer()
    assert isinstance(answer, PictureRefused) and "not complete" in answer.reason


def test_connections_are_limited(bench: Callable[..., Bench]) -> None:
    stills = bench()
    programs = [stills.program() for _ in range(MAX_CONNECTIONS)]
    for number, program in enumerate(programs):
        assert isinstance(program.send(picture(), name=str(number)), PictureAccepted)
        next(stills.frames)
    answer = stills.program().answer()
    assert isinstance(answer, PictureRefused) and "too many connections" in answer.reason
    assert isinstance(programs[0].send(picture()), PictureAccepted)


def test_connection_for_which_there_is_no_descriptor_does_not_end_the_listening(
    bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, failures = socket.socket.accept, iter([OSError(24, "Too many open files")])

    def accept(listener: socket.socket) -> object:
        if (failure := next(failures, None)) is not None:
            raise failure
        return real(listener)

    monkeypatch.setattr(picture_socket, "_PAUSE_S", 0.01)
    monkeypatch.setattr(socket.socket, "accept", accept)
    stills = bench()
    assert isinstance(stills.program().send(picture()), PictureAccepted)
    assert caplog.text.count("no connection with pictures can be taken: [Errno 24] Too many open files") == 1


def test_close_ends_an_iteration_that_waits(bench: Callable[..., Bench]) -> None:
    stills = bench()
    taken: list[CapturedFrame] = []
    consumer = threading.Thread(target=lambda: taken.extend(stills.frames))
    consumer.start()
    stills.program().send(picture())
    stills.source.close()
    consumer.join(timeout=20)
    assert not consumer.is_alive() and len(taken) <= 1
    assert not stills.path.exists()
    assert list(stills.source) == []
    stills.source.close()


def test_socket_of_a_dead_process_is_replaced_and_one_in_use_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "in.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with SocketSource(path, live=False):
        with pytest.raises(SourceError, match="another sender listens"):
            SocketSource(path, live=True)
        assert isinstance(ask(path, picture()), PictureAccepted)


def test_place_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    for path, reason in (
        (file, "exists and is no socket"),
        (tmp_path / "none" / "in.sock", "cannot listen on .*: No such file"),
        (tmp_path / ("x" * 120), "cannot listen on .*: AF_UNIX path too long"),
    ):
        with pytest.raises(SourceError, match=reason):
            SocketSource(path, live=False)
    assert file.read_text() == "mine"


def test_listener_removes_only_its_own_socket(tmp_path: Path) -> None:
    path = tmp_path / "in.sock"
    first = PictureServer(path, lambda *_: PictureRefused(""))
    path.unlink()
    second = PictureServer(path, lambda *_: PictureRefused(""))
    first.close()
    assert path.exists()
    second.close()
    assert not path.exists()


@pytest.mark.parametrize(("prefix", "live"), [("socket:", False), ("socket+live:", True)])
def test_camera_option_opens_a_socket(tmp_path: Path, prefix: str, live: bool) -> None:
    path = tmp_path / "in.sock"
    with open_source(f"{prefix}{path}", CaptureConfig(focal_px=5.0)) as source:
        ask(path, np.random.default_rng(0).bytes(3))
        ask(path, picture())
        assert (source.live, source.stills) == (live, not live)
        assert next(iter(source)).camera.focal_px == 5.0
    assert not os.path.exists(path)


def test_times_of_a_stream_go_on_where_its_clock_is_set(bench: Callable[..., Bench]) -> None:
    live, stills = bench(live=True), bench()
    times_s = {live: list[float](), stills: list[float]()}
    for each in times_s:
        program = each.program()
        for captured_at in (4e8, 4e8 + 0.25, 9e8, 9e8 + 0.25, 5e8):
            program.send(picture(), captured_at=captured_at)
            times_s[each].append(next(each.frames).captured_at)
    assert times_s[live] == [4e8 + step / 4 for step in range(5)]
    assert times_s[stills] == [4e8, 4e8 + 0.25, 9e8, 9e8 + 0.25, 5e8]


@pytest.mark.parametrize("live", [True, False])
def test_times_since_a_machine_s_start_are_told_once_and_not_used(
    bench: Callable[..., Bench], live: bool, caplog: pytest.LogCaptureFixture
) -> None:
    camera = bench(live=live)
    program = camera.program()
    for captured_at in (0.0, 86_400.5, 2e8):
        program.send(picture(), captured_at=captured_at)
        assert next(camera.frames).captured_at == CLOCK.wall()
    (record,) = (each for each in caplog.records if each.levelname == "WARNING")
    assert "in0: captured_at has to be seconds since 1970, and 0 is none of now" in record.getMessage()
    program.send(picture(), captured_at=9e8)
    assert next(camera.frames).captured_at == 9e8


def test_times_in_milliseconds_are_refused_with_the_unit(bench: Callable[..., Bench]) -> None:
    program = bench(live=True).program()
    header = b'{"captured_at": 1767225600000}'
    program.write(MESSAGE_PREFIX.pack(len(header), len(picture())) + header + picture())
    answer = program.answer()
    assert isinstance(answer, PictureRefused)
    assert "times are seconds since 1970, not milliseconds" in answer.reason
