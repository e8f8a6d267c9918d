"""MediaPipe's networks: what they take and give, on blank pictures; and machines that lack them."""

from pathlib import Path

import pytest
import torch

from common.weights import landmark_networks
from common.weights.landmark_networks import Name, load_network


@pytest.mark.skipif(not landmark_networks.DIRECTORY.is_dir(), reason="built without MediaPipe's networks")
@pytest.mark.parametrize(
    ("name", "side", "sizes"),
    [
        ("face_landmark_with_attention", 192, [468 * 3, 80 * 2, 71 * 2, 71 * 2, 5 * 2, 5 * 2, 1]),
        ("hand_landmark_full", 224, [63, 1, 1, 63]),
        ("hand_landmark_lite", 224, [63, 1, 1, 63]),
        ("hand_recrop", 256, [4]),
        ("selfie_segmentation", 256, [256 * 256]),
    ],
)
def test_network_gives_what_it_is_read_for(name: Name, side: int, sizes: list[int]) -> None:
    network = load_network(name)
    assert network is not None
    outputs = network(torch.full((1, side, side, 3), 0.5))
    assert [output.numel() for output in outputs] == sizes
    assert all(output.isfinite().all() for output in outputs)


@pytest.mark.parametrize("content", [None, b"no network"])
def test_missing_or_damaged_network_is_none(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landmark_networks, "DIRECTORY", tmp_path)
    if content is not None:
        (tmp_path / "hand_recrop.tflite").write_bytes(content)
    assert load_network("hand_recrop") is None
