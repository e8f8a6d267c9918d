"""Attempts to take over the session of another sender, in every order of Hello, resume and drain."""

import asyncio
import json
import random

from common.codec.frame_codec import FrameCodec
from common.wire.convert import AckStatus, Drain
from tests.bench.abuse.outcome import Attack, Outcome, Result, by_name, refused, result_of, wrong
from tests.bench.abuse.protocol import acknowledgement, empty_frame
from tests.netlab.hostile_client import HostileClient, Identity, StreamEnded, Target

_FRAMES = 3


class Victim:
    """A session that the honest account began with a few frames.

    Args:
        identity: with its secret.
    """

    def __init__(self, target: Target, identity: Identity) -> None:
        self._target, self.identity = target, identity
        self._client = HostileClient(target, target.victim)
        self._next = 0

    async def send(self, *, drain: bool) -> str:
        """Sends some frames on a new stream; returns what went wrong, empty if nothing did."""
        resume = self._next > 0
        codec = FrameCodec(self._target.model)
        try:
            async with self._client.session(
                self.identity, sender=self._target.victim, resume=resume, resume_from=self._next
            ) as (
                stream,
                welcome,
            ):
                if welcome.next_sequence not in (0, self._next):
                    return f"begins at frame {welcome.next_sequence}, not {self._next}"
                for _ in range(_FRAMES):
                    await stream.send(empty_frame(codec, self._next))
                    answer = await acknowledgement(stream)
                    if answer.status is not AckStatus.DECODED:
                        return f"frame {self._next} was {answer.status.value}"
                    self._next += 1
                if drain:
                    await stream.send(Drain())
                    await stream.end()
        except StreamEnded as ended:
            return "" if ended.code == "UNAVAILABLE" else str(ended)
        return ""


async def steal(target: Target, thief: Identity, account: str, *, resume: bool, frame: int = 0) -> Result:
    """Says Hello with the id of another sender's session; if that is accepted, sends a frame and leaves."""
    changes = {"resume": resume, "resume_from": frame}
    try:
        async with HostileClient(target, account).session(thief, **changes) as (stream, welcome):
            sequence = max(frame, welcome.next_sequence)
            await stream.send(empty_frame(FrameCodec(target.model), sequence))
            answer = await acknowledgement(stream)
            return wrong(f"Hello (resume={resume}) was accepted, frame {sequence} was {answer.status.value}")
    except StreamEnded as ended:
        return result_of(ended)


async def theft_of_published_ids(target: Target, rng: random.Random) -> Result:
    """Takes the ids from the receiver's output directory, as another user of its machine would."""
    path = target.out and target.out / "index.json"
    try:
        sessions = json.loads(path.read_text(encoding="utf-8"))["sessions"] if path else []
    except (OSError, ValueError, KeyError):
        return Result(Outcome.ABSENT, "no index")
    ids = [session["id"] for session in sessions if isinstance(session.get("id"), str) and len(session["id"]) == 32]
    if not ids:
        return Result(Outcome.ABSENT, "no ids in the index")
    # The honest senders are the first ones.
    identity = Identity(bytes.fromhex(rng.choice(ids[:3])), rng.randbytes(32))
    return await steal(target, identity, target.attacker, resume=rng.random() < 0.5, frame=rng.choice([0, 10**6]))


async def theft_in_every_order(target: Target, rng: random.Random) -> Result:
    """A victim that is connected, disconnected or drained; thieves with its id, and its secret or its account."""
    victim = Victim(target, Identity.make(rng))
    state = rng.choice(["connected", "disconnected", "drained"])
    streaming: asyncio.Task[str] | None = None
    problem = await victim.send(drain=state == "drained")
    if problem:
        return _victim_result(f"before the theft: {problem}")
    if state == "connected":
        streaming = asyncio.create_task(_hold(target, victim.identity))
        await asyncio.sleep(0.2)
    other = Identity(victim.identity.session_id, rng.randbytes(32))
    thieves = [(target.attacker, other), (target.attacker, victim.identity), (target.victim, other)]
    tries = [(account, thief, resume) for account, thief in thieves for resume in (False, True)]
    rng.shuffle(tries)
    for account, thief, resume in tries:
        result = await steal(target, thief, account, resume=resume, frame=rng.choice([0, _FRAMES]))
        if result.outcome is not Outcome.REFUSED:
            if streaming is not None:
                streaming.cancel()
            same = "with" if thief is victim.identity else "without"
            return Result(result.outcome, f"{account} {same} the secret, victim {state}: {result.detail}")
    if streaming is not None:
        streaming.cancel()
        await asyncio.gather(streaming, return_exceptions=True)
    problem = await victim.send(drain=True)
    return refused() if not problem else _victim_result(f"victim {state}, after the theft was refused: {problem}")


def _victim_result(problem: str) -> Result:
    """A receiver may be full for now; everything else is a fault."""
    return Result(Outcome.ABSENT, problem) if "RESOURCE_EXHAUSTED" in problem else wrong(problem)


async def _hold(target: Target, identity: Identity) -> str:
    async with HostileClient(target, target.victim).session(identity, sender=target.victim, resume=True) as (stream, _):
        return str(await stream.end())


ATTACKS: dict[str, Attack] = by_name(theft_of_published_ids, theft_in_every_order)
