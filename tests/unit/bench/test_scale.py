"""What the bench of the pool sends, and how it sums up."""

from collections import Counter

import numpy as np
import pytest

from common.labels import FAST_GROUPS
from receiver.engine.local import LocalEngine
from tests.bench.scale import Batches, Sessions, batch_shares, measure, stream
from tests.support.fake_reconstructor import FakeReconstructor


def test_clothes_stay_the_same_and_people_move() -> None:
    first, second = (frame.people[0].labels for frame in stream(3)[:2])
    for name, row in first.items():
        assert np.array_equal(row, second[name]) == (name not in FAST_GROUPS)


def test_shares_of_batches() -> None:
    assert batch_shares(Counter({8: 1, 1: 3})) == {"1": 0.75, "8": 0.25}


async def test_every_session_sends_its_own_clip() -> None:
    engine = LocalEngine(reconstructor := FakeReconstructor())  # type: ignore[arg-type]
    sessions = Sessions(engine, [stream(seed) for seed in (1, 2)])
    await sessions.pace(seconds=0.04, fps=100)
    await engine.close()
    sent = [(request.session, request.frame) for batch in reconstructor.batches for request in batch]
    assert [session for session, _ in sent] == [0, 1, 0, 1]
    assert len(sessions.latencies_ms) == len(sessions.queue_ms) == 4
    shapes = [frame.people[0].labels["shape"] for _, frame in sent]
    assert np.array_equal(shapes[0], shapes[2]) and not np.array_equal(shapes[0], shapes[1])


async def test_lost_replica_spoils_the_measurement() -> None:
    with pytest.raises(RuntimeError, match="lost"):
        Batches().batch_retried()


async def test_figures_of_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.bench.scale._WARM_UP_S", 0.01)
    clips = [stream(seed) for seed in range(8)]

    def engine(batches: Batches) -> LocalEngine:
        return LocalEngine(FakeReconstructor(), observer=batches)  # type: ignore[arg-type]

    figures, sizes = await measure(engine, clips, 0.05, paced_fps=100.0)
    assert figures.keys() == {"fps", "load_p95_ms", "cpu_ms", "third_p50_ms", "third_p95_ms", "queue_p50_ms"}
    assert figures["fps"] > 0 and sizes.total() > 0
