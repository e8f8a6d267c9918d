"""Odd values of `--camera`: `python -m tests.bench.abuse.cameras --folder DIR --journal FILE --seconds N --seed S`.

Opens each through the source opener of the sender, takes a few frames, and closes it.
"""

import argparse
import os
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NoReturn

import av
import numpy as np
from PIL import Image

from common.errors import BodywireError
from sender.capture.config import CaptureConfig
from sender.capture.open import DEMO_CLIP, open_source
from tests.bench.abuse.outcome import Journal, Outcome, Result

FAMILY = "camera"
_LIMIT_S = 12.0
"""RTSP may take 5 s, and the thread of a live source 2 s to end."""
_FRAMES = 3
_GREY = 0.5

# Texts that are no name of anything.
_TEXTS = (
    *(" ", "\t", "\n", ".", "..", "/", "//", "~", "*", "**", "[", "]", "?", "%s", "%d.png", "$(id)", "`id`", "-", "--"),
    *("demo ", "DEMO", "demo.mp4", "0x0", "1e3", "-1", "+1", "00", "99", "2147483647", "2147483648", "4294967296"),
    *("9" * 30, "9" * 5000, "a" * 300, "a" * 5000, "a/" * 2500, "\u0663", "\u00b2", "１", "\u202egpj.x", "\x1b[2J"),
    *("\x00", "a\x00b.png", "\udcff", "\udcff.png", "NaN", "None", "C:\\x.mp4", "//host/share", "file:///etc/passwd"),
    *("http://127.0.0.1:9/x", "https://x", "://", "rtsp", "rtsp:", "rtsp://", "rtsp:///", "rtsp://:99999/", "rtsp://[::1"),
    *("rtsp://127.0.0.1:9/x", "rtsps://127.0.0.1:9/", "rtsp://user:secret@127.0.0.1:9/", "rtsp://127.0.0.1:70000/"),
    *("rtsp://" + "a" * 5000, "rtsp://\x00", "rtsp://127.0.0.1:9/?timeout=0", "concat:a|b", "pipe:0", "data:,x"),
    *("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/tty", "/dev/stdin", "/dev/video99", "/dev/videoX"),
    *("/proc/self/mem", "/proc/self/environ", "/proc", "/sys", "/etc/passwd", "/proc/self/fd/0", "/dev/fd/99"),
)  # fmt: skip


def _save_images(folder: Path) -> None:
    """Images of unusual sizes and depths."""
    grey16 = np.full((48, 64), int(_GREY * 65535), np.uint16)
    Image.fromarray(grey16).save(folder / "grey16.png")
    Image.fromarray(grey16.astype(np.int32)).save(folder / "grey32.tif")
    Image.fromarray(np.full((48, 64), _GREY, np.float32)).save(folder / "float.tif")
    Image.fromarray(np.full((1, 70_000, 3), 128, np.uint8)).save(folder / "wide.png")
    Image.fromarray(np.full((70_000, 1, 3), 128, np.uint8)).save(folder / "high.png")
    grey = Image.fromarray(np.full((48, 64, 3), 128, np.uint8))
    for mode, name in (("1", "bits.png"), ("L", "l.png"), ("LA", "la.png"), ("P", "p.png"), ("RGBA", "rgba.png")):
        grey.convert(mode).save(folder / name)
    grey.convert("CMYK").save(folder / "cmyk.jpg")
    grey.resize((1, 1)).save(folder / "one.png")
    grey.save(folder / "plain.webp")
    grey.save(folder / "turned.jpg", exif=_orientation(7))
    grey.save(folder / "wild.jpg", exif=_orientation(99))
    grey.save(folder / "moving.tif", save_all=True, append_images=[grey.resize((9, 9))])
    whole = (folder / "l.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("no image")
    (folder / "bomb.png").write_bytes(whole[:16] + (60_000).to_bytes(4, "big") * 2 + whole[24:])


def _orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def _save_videos(folder: Path) -> None:
    """Videos that are cut, damaged, empty, or none."""
    demo = DEMO_CLIP.read_bytes()
    (folder / "cut.mp4").write_bytes(demo[: len(demo) // 3])
    (folder / "tail.mp4").write_bytes(demo[len(demo) // 3 :])
    noisy = bytearray(demo)
    for at in np.random.default_rng(1).integers(len(demo) // 10, len(demo), 2000):
        noisy[at] ^= 0xFF
    (folder / "noisy.mp4").write_bytes(noisy)
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "zeros.mkv").write_bytes(bytes(100_000))
    (folder / "noise.mp4").write_bytes(np.random.default_rng(2).bytes(100_000))
    with av.open(str(folder / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 8000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def make_sources(folder: Path) -> None:
    folder.mkdir()
    _save_images(folder)
    _save_videos(folder)
    for name in ("fifo.png", "fifo.mp4", "fifo"):
        os.mkfifo(folder / name)
    for name in ("directory.png", "directory.mp4", "void", "nested/a.png"):
        (folder / name).mkdir(parents=True)
    (folder / "dangling.png").symlink_to("nothing")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "listening.mp4").touch(mode=0o000)
    with closing(socket.socket(socket.AF_UNIX)) as unix, suppress(OSError):
        unix.bind(str(folder / "socket.png"))
    mixed = folder / "mixed"
    mixed.mkdir()
    for name in ("wide.png", "l.png", "cut.png", "text.jpg", "plain.webp", "grey16.png"):
        (mixed / name).write_bytes((folder / name).read_bytes())
    (mixed / "new\nline.png").write_bytes((folder / "l.png").read_bytes())


def values(folder: Path) -> list[str]:
    """The values of `--camera` to try: texts, the files of a folder that `make_sources` made, and globs."""
    globs = [str(folder / pattern) for pattern in ("*.png", "**", "*/*.png", "[", "nothing-*.png", "*.jpg")]
    return [*_TEXTS, *sorted(str(path) for path in folder.iterdir()), *globs]


@contextmanager
def silent_server() -> Iterator[str]:
    """An RTSP address whose server accepts connections and sends nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"rtsp://127.0.0.1:{server.getsockname()[1]}/silent"


def look(camera: str) -> Result:
    """Opens a source and takes a few frames."""
    try:
        config = CaptureConfig(camera)
    # The command line turns it into a line with exit code 2.
    except ValueError as error:
        return Result(Outcome.REFUSED, f"{camera[:80]!r}: {error}")
    try:
        with closing(open_source(config)) as source:
            frames = list(islice(source, _FRAMES))
    except BodywireError as error:
        return Result(Outcome.REFUSED, f"{camera[:80]!r}: {type(error).__name__}: {error}")
    except Exception as error:  # what the sender would print as a traceback
        return Result(Outcome.UNHANDLED, f"{camera[:80]!r}: {type(error).__name__}: {error}")
    mean = float(np.mean([frame.image.mean() for frame in frames])) if frames else 0.0
    if camera.endswith(("grey16.png", "grey32.tif")) and not 64 <= mean <= 192:
        return Result(Outcome.WRONG, f"{Path(camera).name}: half-bright image has mean {mean:.0f} of 255")
    return Result(Outcome.HARMLESS, f"{camera[:80]!r}: {len(frames)} frames")


def _within(limit_s: float, work: Callable[[], Result]) -> Result | None:
    """The result of some work on a thread; None if it takes too long."""
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.append(work()), daemon=True)
    thread.start()
    thread.join(limit_s)
    return results[0] if results else None


def _look_at_all(cameras: Sequence[str], options: argparse.Namespace) -> None:
    journal, limit_s = Journal(options.journal), _LIMIT_S * options.patience
    until_s = time.monotonic() + options.seconds
    for number, camera in enumerate(cameras[options.skip :], start=options.skip):
        if time.monotonic() > until_s:
            return
        # If this process dies of it, its output names the value.
        print(number, ascii(camera[:200]), flush=True)
        started_s = time.monotonic()
        result = _within(limit_s, partial(look, camera))
        seconds = time.monotonic() - started_s
        hang = Result(Outcome.HANG, f"{camera[:80]!r}: no answer in {limit_s:g} s")
        journal.write(FAMILY, "open_source", f"{options.seed}/{number}", result or hang, seconds)
        if result is None:
            _start_again(options, number + 1, until_s - time.monotonic())


def _start_again(options: argparse.Namespace, skip: int, seconds: float) -> NoReturn:
    """Replaces this process by one that goes on behind a value that blocks: its thread cannot be ended otherwise."""
    flags = {**vars(options), "skip": skip, "seconds": max(seconds, 0.0)}
    pairs = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    os.execv(sys.executable, [sys.executable, "-m", "tests.bench.abuse.cameras", *pairs])


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.bench.abuse.cameras")
    parser.add_argument("--folder", type=Path, required=True, help="for the odd files; made if missing")
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", required=True, help="decides the order")
    parser.add_argument("--patience", type=float, default=1.0, help="factor of time limits")
    parser.add_argument("--skip", type=int, default=0, help="number of values that were tried before")
    options = parser.parse_args()
    if not options.folder.exists():
        make_sources(options.folder)
    with silent_server() as address:
        cameras = [*values(options.folder), address]
        random.Random(options.seed).shuffle(cameras)
        _look_at_all(cameras, options)


if __name__ == "__main__":
    main()
