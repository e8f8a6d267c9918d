"""The engine that `tests.bench.scale --device` measures."""

import pytest
import torch

from receiver.engine.engine import ReconstructionRequest
from receiver.engine.local import LocalEngine
from receiver.engine.reconstructor import Reconstructor
from tests.bench.scale import Batches, engine_maker, stream
from tests.support.pretended_gpu import pretended_gpu


def test_local_engine_computes_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Reconstructor] = []
    load = Reconstructor.load

    def remembered(device: torch.device) -> Reconstructor:
        loaded.append(load(device=device))
        return loaded[-1]

    monkeypatch.setattr(Reconstructor, "load", remembered)
    with pretended_gpu(monkeypatch) as gpu, engine_maker("local", gpu) as make_engine:
        assert isinstance(make_engine(Batches()), LocalEngine)
        (reconstructor,) = loaded
        assert reconstructor._displacements._space.mean.device == gpu
        # The pretended GPU is in this thread, the engine's networks in another.
        request = ReconstructionRequest("account", "session", stream(1)[0])
        assert len(reconstructor.reconstruct(request).people) == 1
