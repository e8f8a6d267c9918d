"""Grows the inputs of `fuzz.py` by coverage: `python -m tests.netlab.hostile.grow_corpus --seconds 600`.

libFuzzer (`pip install .[fuzz]`, Python 3.11) changes inputs and keeps those that reach something new; the few that
together reach all of it are written to `tests/golden`.  The exit code is not 0 if one is neither refused nor right.
"""

import argparse
import hashlib
import itertools
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import atheris
import numpy as np

with atheris.instrument_imports(
    include=["common.codec", "common.wire", "common.wears", "common.frames", "common.text"]
):
    from tests.netlab.hostile import fuzz

from common.codec.frame_codec import FrameCodec
from common.wear_kinds import VALUES
from common.wears import Wears
from common.wire.convert import (
    Acknowledgement,
    Acknowledgements,
    AckStatus,
    Chunk,
    ChunkAck,
    Drain,
    FrameMessage,
    Heartbeat,
    Hello,
    Welcome,
    encode_client,
    encode_server,
)
from common.wire.datagrams import Datagrams
from common.wire.frame_messages import SenderReport
from tests.netlab.hostile.hostile_packets import hostile_answers, hostile_frames, hostile_messages
from tests.support.motion.label_motion import FINE_RHO, MODEL_HASH, clip

_MOST_BYTES, _SHORT_BYTES = 6000, 300
_EACH = 100


def seeds() -> Iterator[bytes]:
    """Honest and absurd inputs."""
    numbers, rng = {name: bytes([number]) for number, name in enumerate(fuzz.TARGETS)}, np.random.default_rng(1)
    for name, data in itertools.chain(_packets(rng), _messages(rng), _datagrams(), _others(rng)):
        if len(data) < _MOST_BYTES:
            yield numbers[name] + data


def _others(rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    for known in range(len(VALUES) + 1):
        posterior = {name: rng.dirichlet(np.ones(len(values))) for name, values in list(VALUES.items())[:known]}
        yield "kinds", Wears({name: shares.astype(np.float32) for name, shares in posterior.items()}).encode()
    for people in (0, 1):
        encoder, decoder = FrameCodec(MODEL_HASH), FrameCodec(MODEL_HASH)
        decoder.decode(encoder.encode(clip(1, seed=52, people=people)[0], FINE_RHO).payload, 0)
        yield "states", decoder.snapshot()


def _packets(rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    for number, people in enumerate(fuzz.PEOPLE):
        for count in (1, 3):
            encoder, frames = FrameCodec(MODEL_HASH), clip(12 + count, seed=50, people=people)
            if people:
                for frame in frames[:12]:
                    encoder.encode(frame, FINE_RHO)
                    encoder.acknowledge(frame.sequence - 2)
            yield _packet(number, encoder.encode_bundle(frames[-count:], FINE_RHO).payload, count)
    for packet in itertools.islice(hostile_frames(rng, FrameCodec(MODEL_HASH)), _EACH):
        yield _packet(int(rng.integers(len(fuzz.PEOPLE))), packet.payload, len(packet.sequences))


def _packet(decoder: int, payload: bytes, frames: int) -> tuple[str, bytes]:
    return "packets", bytes([decoder | (frames - 1 & 7) << 2 | fuzz.FITS]) + payload[:-2]


def _messages(rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    hello = Hello(bytes(16), "camera", 4, MODEL_HASH, live=True, session_secret=bytes(32))
    report = SenderReport(200_000, 40.5, {"capture": 1.5, "codec": 0.3}, people_limit=4, camera_fps=30.0)
    frames = (FrameMessage(0, bytes(20)), FrameMessage(9, bytes(20), True, (2, 3, 5)))
    chunks = (Chunk(1, 0, b"wears", "wears", 3, 9, 17), Chunk(1, 5, b"more"))
    for message in (hello, report, *frames, *chunks, Heartbeat(10**18, 0, -(10**15), 10**6, bytes(8)), Drain()):
        yield "messages of senders", encode_client(message)
    welcomes = (Welcome(True, MODEL_HASH, "", 7, 8, True, 6), Welcome(False, MODEL_HASH, "full"))
    answers = [Acknowledgement(number, status, 10**15, 33_000, 3000, "why") for number, status in enumerate(AckStatus)]
    for answer in (*welcomes, Acknowledgements(tuple(answers)), Heartbeat(1, 2, 3, 4), ChunkAck(1, 9), Drain()):
        yield "messages of receivers", encode_server(answer)
    for name, absurd in (("senders", hostile_messages), ("receivers", hostile_answers)):
        yield from ((f"messages of {name}", data) for data in itertools.islice(absurd(rng), _EACH))


def _datagrams() -> Iterator[tuple[str, bytes]]:
    numbers = Datagrams()
    numbers._answered = numbers._sent = 1000
    for count in (1, 2, 8):
        last = 1000 + count
        frame = FrameMessage(last, b"labels", True, tuple(range(1001, last)))
        yield "datagrams of senders", numbers.encode(frame) or b""
        for status in (AckStatus.DECODED, AckStatus.LATE, AckStatus.DUPLICATE):
            answers = (Acknowledgement(1001 + index, status, 0, 1, 100 * (9 - index)) for index in range(count))
            yield "datagrams of receivers", numbers.encode(Acknowledgements(tuple(answers))) or b""


def libfuzzer(flags: Sequence[str]) -> NoReturn:
    """Runs libFuzzer in this process, and ends it: not with 0 after an input that was neither refused nor right."""
    targets = [make() for make in fuzz.TARGETS.values()]

    def take(data: bytes) -> None:
        if data and data[0] < len(targets):
            targets[data[0]].reset()
            targets[data[0]].take(data[1:])

    atheris.Setup([*flags], take)
    atheris.Fuzz()
    raise AssertionError("libFuzzer ends the process")


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.netlab.hostile.grow_corpus", description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="for which inputs are changed (default: %(default)s)")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory() as name:
        _grow(Path(name), seconds)


def _grow(folder: Path, seconds: int) -> None:
    found, few, seeded = folder / "found", folder / "few", set(seeds())
    for each in (found, few):
        each.mkdir()
    for data in seeded | set(fuzz.read_corpus() if fuzz.CORPUS.exists() else []):
        (found / hashlib.sha1(data).hexdigest()).write_bytes(data)
    # It also starts itself, several times while it chooses inputs.
    itself = folder / "libfuzzer"
    itself.write_text(f'#!/bin/sh\nexec {sys.executable} -m tests.netlab.hostile.grow_corpus --libfuzzer "$0" "$@"\n')
    itself.chmod(0o755)
    limits = [f"-max_len={_MOST_BYTES}", "-timeout=5", "-artifact_prefix=/tmp/"]
    subprocess.run([itself, *limits, f"-max_total_time={seconds}", found], check=True)
    subprocess.run([itself, *limits, "-merge=1", few, found], check=True)
    # Coverage does not tell the fields of messages apart, whose checks are calls of the same functions.
    short = {data for data in seeded if data[0] and len(data) < _SHORT_BYTES}
    fuzz.write_corpus(list(short | {path.read_bytes() for path in few.iterdir()}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--libfuzzer"]:
        libfuzzer(sys.argv[2:])
    main()
