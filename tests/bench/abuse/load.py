"""Attacks by work: streams of frames with as many people as a packet holds, from several sessions at once."""

import asyncio
import random

import numpy as np

from common.codec.frame_codec import FrameCodec
from common.frames import MAX_PEOPLE, LabelFrame
from common.wire.convert import AckStatus, FrameMessage
from tests.bench.abuse.outcome import Attack, Outcome, Result, by_name, harmless, result_of
from tests.bench.abuse.packets import person
from tests.bench.abuse.protocol import acknowledgement
from tests.netlab.hostile_client import CAMERA, HostileClient, Identity, StreamEnded, Target

_NOW_NS = 1_800_000_000 * 10**9
_SECONDS = 12.0
_CROWDS = (MAX_PEOPLE, MAX_PEOPLE, 16, 8)


async def _stream(target: Target, rng: random.Random, people: int, window: int) -> Result:
    """Sends frames of so many people, a window at a time, for a while."""
    generator, codec = np.random.default_rng(rng.getrandbits(64)), FrameCodec(target.model)
    crowd = tuple(person(generator, identity) for identity in range(people))
    sequence, unacknowledged, rejected = 1, 0, 0
    try:
        async with HostileClient(target).session(Identity.make(rng)) as (stream, welcome), asyncio.timeout(_SECONDS):
            while rejected < 4:
                encoded = codec.encode(LabelFrame(sequence, "crowd", 1.8e9, CAMERA, crowd), {})
                await stream.send(FrameMessage(sequence, encoded.payload))
                sequence, unacknowledged = sequence + 1, unacknowledged + 1
                if unacknowledged >= min(window, welcome.window):
                    answer = await acknowledgement(stream)
                    unacknowledged -= 1
                    rejected += answer.status is AckStatus.REJECTED
    except TimeoutError:
        return harmless(f"{sequence - 1} frames of {people} people")
    except StreamEnded as ended:
        return result_of(ended)
    return Result(Outcome.REFUSED, f"frames of {people} people are rejected: {answer.reason}")


async def crowds(target: Target, rng: random.Random) -> Result:
    """Several sessions of one account at the same time, each with a full window."""
    streams = [_stream(target, rng, rng.choice(_CROWDS), 8) for _ in range(rng.randint(1, 6))]
    results = await asyncio.gather(*streams)
    faults = [result for result in results if result.outcome in (Outcome.UNHANDLED, Outcome.HANG)]
    return faults[0] if faults else results[0]


async def one_crowd(target: Target, rng: random.Random) -> Result:
    """One stream of frames with as many people as a packet holds."""
    return await _stream(target, rng, MAX_PEOPLE, 8)


ATTACKS: dict[str, Attack] = by_name(crowds, one_crowd)
