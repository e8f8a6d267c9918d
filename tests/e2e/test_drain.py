"""A stopping receiver refuses new senders, finishes the frames that have arrived, and sends Drain."""

import json
import signal
from pathlib import Path

import numpy as np

from common.codec.frame_codec import FrameCodec
from common.frames import Camera, LabelFrame, PersonLabels
from common.io.addresses import Address
from common.labels import LABEL_SIZE, split
from common.weights.manifest import model_hash
from common.wire.convert import Acknowledgements, Drain, FrameMessage
from sender.link.transport.transport import Transport
from tests.e2e.daemons import receiver
from tests.support.link.scripted_sender import ScriptedSender

FRAMES = 3


async def test_sigterm_finishes_arrived_frames_and_sends_drain(tmp_path: Path) -> None:
    out, codec = tmp_path / "out", FrameCodec(model_hash())
    person = PersonLabels(0, 0.9, split(np.zeros(LABEL_SIZE, np.float32)))
    with receiver(out, "--meshes", "surfaces") as running:
        async with ScriptedSender(await Transport().reach(Address.parse(running.address))) as sender:
            assert (await sender.hello(model=model_hash())).accepted
            for sequence in range(FRAMES):
                encoded = codec.encode(LabelFrame(sequence, "draining", 1.8e9, Camera(640, 480, 600.0), (person,)), {})
                await sender.write(FrameMessage(sequence, encoded.payload))
            messages = [await sender.receive()]
            # The other frames have arrived or are in flight; one of them is being reconstructed.
            running.process.send_signal(signal.SIGTERM)
            while not isinstance(messages[-1], Drain):
                messages.append(await sender.receive())
            assert await sender.end.read() is None
        code, errors = running.terminate()
    assert code == 0, errors
    acknowledged = [
        ack.sequence for message in messages if isinstance(message, Acknowledgements) for ack in message.frames
    ]
    assert acknowledged == list(range(len(acknowledged)))
    lines = [json.loads(line) for line in (out / "frames.jsonl").read_text().splitlines()]
    assert [line["seq"] for line in lines] == acknowledged
