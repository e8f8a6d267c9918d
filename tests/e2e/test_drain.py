"""A stopping receiver refuses new senders, finishes the frames that have arrived, and sends Drain."""

import asyncio
import json
import secrets
import signal
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from common.codec.frame_codec import FrameCodec
from common.codec.packet import CODEC_VERSION
from common.frames import Camera, LabelFrame, PersonLabels
from common.labels import LABEL_SIZE, split
from common.weights.manifest import model_hash
from common.wire.convert import (
    STREAM_METHOD,
    STREAM_SERVICE,
    Acknowledgements,
    ClientMessages,
    Drain,
    FrameMessage,
    Hello,
    ServerMessage,
    ServerMessages,
    Welcome,
)
from tests.e2e.daemons import TIMEOUT_S, receiver

FRAMES = 3


async def _receive(call: Any, messages: ServerMessages) -> ServerMessage:
    data = await call.read()
    assert data is not grpc.aio.EOF
    return messages.decode(data)


async def _send(call: Any) -> None:
    codec, person = FrameCodec(model_hash()), PersonLabels(0, 0.9, split(np.zeros(LABEL_SIZE, np.float32)))
    hello = Hello(
        secrets.token_bytes(16),
        "draining",
        CODEC_VERSION,
        model_hash(),
        live=False,
        session_secret=secrets.token_bytes(32),
    )
    messages = ClientMessages()
    await call.write(messages.encode(hello))
    welcome = await _receive(call, ServerMessages())
    assert isinstance(welcome, Welcome)
    assert welcome.accepted
    for sequence in range(FRAMES):
        encoded = codec.encode(LabelFrame(sequence, "draining", 1.8e9, Camera(640, 480, 600.0), (person,)), {})
        message = FrameMessage(sequence, encoded.payload)
        await call.write(messages.encode(message))


async def test_sigterm_finishes_arrived_frames_and_sends_drain(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with receiver(out, "--no-body") as running:
        async with asyncio.timeout(TIMEOUT_S), grpc.aio.insecure_channel(running.address) as channel:
            call = channel.stream_stream(f"/{STREAM_SERVICE}/{STREAM_METHOD}")()
            await _send(call)
            answers = ServerMessages()
            first = await _receive(call, answers)
            # The other frames have arrived or are in flight; one of them is being reconstructed.
            running.process.send_signal(signal.SIGTERM)
            messages = [first]
            while not isinstance(messages[-1], Drain):
                messages.append(await _receive(call, answers))
            assert await call.read() is grpc.aio.EOF
        code, errors = running.terminate()
    assert code == 0, errors
    acknowledged = [
        ack.sequence for message in messages if isinstance(message, Acknowledgements) for ack in message.frames
    ]
    assert acknowledged == list(range(len(acknowledged)))
    lines = [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]
    assert [line["seq"] for line in lines] == acknowledged
