"""One replica: people fail alone, objects are fetched once, busy time, a batch that hangs."""

import asyncio
from typing import Any

import numpy as np
import pytest

from common.wear_kinds import VALUES
from common.wears import Wears
from receiver.config import SurfaceConfig
from receiver.engine.engine import PersonAppearance, ReconstructionRequest
from receiver.engine.pool import PersonWork
from receiver.engine.replica import BusyTime, Replica, ReplicaSettings
from receiver.texture.received_texture import ReceivedTexture
from tests.support.receiver.fake_pool import FakeReference
from tests.support.receiver.fake_reconstructor import SKELETON, FakeReconstructor, label_frame

SETTINGS = ReplicaSettings(SurfaceConfig(), "cpu", threads=2)


def replica_with(reconstructor: FakeReconstructor) -> Replica:
    return Replica(SETTINGS, lambda _: reconstructor)  # type: ignore[arg-type, return-value]


def work(source: str, identity: int = 0, worn: Wears | None = None, texture: Any = None) -> PersonWork:
    frame, appearance = label_frame(0, identity, source=source), {identity: PersonAppearance(worn=worn)}
    return PersonWork(ReconstructionRequest(source, source, frame, appearance, split_from=3), texture)


async def test_batch_goes_through_the_networks_together() -> None:
    replica = replica_with(reconstructor := FakeReconstructor())
    done = await replica.reconstruct([work("a", 4), work("b", 5)])
    identities = [result.people[0].labels.identity for result in done.outcomes if not isinstance(result, Exception)]
    assert identities == [4, 5]
    assert [len(batch) for batch in reconstructor.batches] == [2]
    assert reconstructor.batches[0][0].people_in_frame == 3
    assert done.stages_ms == {"decode": 1.0} and done.busy_s > 0


async def test_bad_person_fails_alone() -> None:
    done = await replica_with(FakeReconstructor(bad_source="bad")).reconstruct([work("a"), work("bad"), work("c")])
    assert [isinstance(outcome, ValueError) for outcome in done.outcomes] == [False, True, False]
    assert done.stages_ms == {"decode": 1.0}


async def test_object_is_fetched_once_and_stays_the_same() -> None:
    replica = replica_with(reconstructor := FakeReconstructor())
    texture = ReceivedTexture()
    reference, other = FakeReference(texture, "one"), FakeReference(texture, "other")
    for each in (reference, reference, other):
        await replica.reconstruct([work("a", 7, texture=each)])
    first, second, third = (batch[0].appearance[7].texture for batch in reconstructor.batches)
    assert first is second is not third
    assert reference.fetched == 1


async def test_replica_is_told_what_the_person_wears() -> None:
    replica = replica_with(reconstructor := FakeReconstructor())
    worn = Wears({name: np.full(len(values), 1 / len(values), np.float32) for name, values in VALUES.items()})
    await replica.reconstruct([work("a", 7, worn=worn, texture=FakeReference(ReceivedTexture(), "one")), work("b", 8)])
    dressed, unknown = (request.appearance for request in reconstructor.batches[0])
    assert dressed[7].worn is worn and unknown == {8: PersonAppearance()}


async def test_replica_says_what_its_results_depend_on() -> None:
    facts = await replica_with(FakeReconstructor()).facts()
    assert facts.skeleton is SKELETON
    assert "grid_resolution=80" in facts.build and "weights" in facts.build


async def test_replica_that_hangs_fails_its_health_check(monkeypatch: pytest.MonkeyPatch) -> None:
    replica = replica_with(reconstructor := FakeReconstructor())
    replica.check_health()
    reconstructor.gate.clear()
    task = asyncio.ensure_future(replica.reconstruct([work("a")]))
    await asyncio.sleep(0)
    monkeypatch.setattr("receiver.engine.replica._HANGS_S", 0.0)
    with pytest.raises(RuntimeError, match="more than"):
        replica.check_health()
    reconstructor.gate.set()
    await task
    replica.check_health()


def test_busy_time_counts_overlapping_batches_once() -> None:
    now_s = 0.0
    busy = BusyTime(lambda: now_s)
    with busy.batch():
        now_s = 1.0
        with busy.batch():
            now_s = 3.0
        assert busy.take_s() == 3.0 and busy.longest_s == 3.0
        now_s = 4.0
    now_s = 10.0
    assert busy.take_s() == 1.0 and busy.longest_s == 0.0
    with busy.batch():
        now_s = 12.0
    assert busy.take_s() == 2.0
