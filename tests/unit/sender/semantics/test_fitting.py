"""Predictor and refinement as one network, which a GPU captures."""

import numpy as np
import pytest
import torch

from common.weights.devices import CPU
from common.weights.inference import NetworkInUse
from sender.perception.perception_network import FEATURE_SIZE
from sender.semantics.bodies import ENTRIES
from sender.semantics.refine import FitterOnGpu, FitterOnHost, FittingNetwork, PoseHead, Refiner, Targets

PEOPLE = 3


@pytest.mark.slow
@pytest.mark.parametrize("follows", [False, True])
def test_one_graph_fits_as_the_host_does(follows: bool) -> None:
    generator = np.random.default_rng(0)

    def random(*shape: int, least: float = -1.0) -> np.ndarray:
        return generator.uniform(least, 1, (PEOPLE, *shape)).astype(np.float32)

    features, refiner = torch.from_numpy(random(FEATURE_SIZE)), Refiner.load()
    targets = Targets(
        random(17, 2, least=0),
        random(17, 1, least=0.1),
        random(17, 3),
        random(17, 1, least=0.1),
        5 + random(1, 1),
        5 + random(1, 1),
        np.array([0.0, -0.1, 0.9], np.float32) + 0.1 * random(5, 3),
        np.array([0, 0, 50], np.float32)[:, None, None],
        2 + random(1, 1),
    )
    predictor = PoseHead.load()
    network = FittingNetwork(predictor, refiner.keypoints, follows=follows).eval()
    rows = [torch.cat([each] * PEOPLE) for each in FittingNetwork.example()]
    with torch.no_grad():
        graph = torch.export.export(network, tuple(rows), strict=False).module()
    correction = np.asarray(0.2 * random(ENTRIES), np.float32) if follows else None
    fitter = FitterOnGpu(*[NetworkInUse(graph, "float32", CPU)] * 2)
    on_host = FitterOnHost(NetworkInUse(predictor, "float32", CPU), refiner)
    found, expected = (fit(features, targets, correction) for fit in (fitter, on_host))
    np.testing.assert_allclose(found.sigma, expected.sigma, atol=1e-5)
    np.testing.assert_allclose(found.refined, expected.refined, atol=1e-3)
    # Crop units: what a change of the entries by 1e-3 moves a wrist.
    np.testing.assert_allclose(found.keypoints, expected.keypoints, atol=3e-4)
    assert np.abs(expected.refined - expected.predicted).max() > 0.1
