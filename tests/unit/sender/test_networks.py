"""The sender's networks are loaded as they were saved, and no others."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from common.errors import WeightsError
from common.weights.loader import architecture_of, save_weights
from sender.perception import predictor
from sender.perception import read as verifier
from sender.perception.perception_network import PerceptionConfig, PerceptionNet
from sender.semantics import confidence

TINY = PerceptionConfig(size=64, width=24, depth=2, heads=3, quarter=16, eighth=16, keypoint_width=16)

NETWORKS: list[tuple[Any, Any, Any]] = [
    (predictor, predictor.Perception, PerceptionNet(TINY)),
    (verifier, verifier.Verifier, verifier.VerifierNet(verifier.VerifierConfig(hidden=5))),
    (confidence, confidence.KeypointConfidence, confidence.ConfidenceNet(confidence.ConfidenceConfig())),
]


@pytest.mark.parametrize(("module", "user", "net"), NETWORKS, ids=lambda value: getattr(value, "__name__", ""))
def test_load(tmp_path: Path, module: Any, user: Any, net: Any) -> None:
    for weight in net.parameters():
        nn.init.normal_(weight)
    recorded = {"kind": module.KIND, **architecture_of(net.config)}
    save_weights(module.WEIGHTS_NAME, net.state_dict(), recorded, {}, {}, storage="float32", directory=tmp_path)
    loaded = user.load(tmp_path).net.state_dict()
    for name, weights in net.state_dict().items():
        assert torch.equal(loaded[name], weights), name
    for architecture, weights in (
        ({**recorded, "kind": "other"}, net.state_dict()),
        ({**recorded, "another": 1}, net.state_dict()),
        (recorded, {"x": torch.zeros(1)}),
    ):
        save_weights(module.WEIGHTS_NAME, weights, architecture, {}, {}, storage="float32", directory=tmp_path)
        with pytest.raises(WeightsError, match="another version"):
            user.load(tmp_path)
