"""The sender's networks on a GPU that is pretended: a tensor that was left on the host is found there."""

from typing import Literal

import numpy as np
import pytest

from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.errors import UsageError
from common.frames import PersonLabels
from common.weights import captured
from common.weights.threads import DeviceConfig
from sender.capture.open import DEMO_CLIP
from sender.capture.video import VideoFileSource
from sender.composition import load_networks
from sender.config import DeliveryConfig, PlaybackConfig, SenderConfig
from sender.lookahead import Perceived
from sender.metrics import SenderMetrics
from sender.openings import OpenCamera
from sender.perception import detect
from sender.texture.texture_stage import TextureStage
from tests.support.training.pretended_gpu import on_gpu, pretended_gpu

# The first one is seen thoroughly, the others in one view; the third is the first whose colours are observed.
FRAMES = 3
# The GPU's bf16 is not the CPU's float32.
TOLERANCE_SIGMA = 0.2


def camera_of(config: SenderConfig, source: VideoFileSource) -> OpenCamera:
    return OpenCamera("", config, SenderMetrics(), source, None)


def labelled(device: str) -> list[tuple[PersonLabels, ...]]:
    """Labels of the first frames of the demo clip, with the networks on a device."""
    labels: list[tuple[PersonLabels, ...]] = []
    textures = TextureStage(LabelSpace.load(), BodyModel.load())
    config = SenderConfig(device=DeviceConfig(device))
    with VideoFileSource(DEMO_CLIP) as source:
        perception, semantics = load_networks([camera_of(config, source)])[0][:2]
        assert on_gpu(perception._perception.net) == (device == "cuda")
        for frame, _ in zip(source, range(FRAMES), strict=False):
            observed = perception.process(frame.image, frame.camera, frame.media_time_s)
            semantics.observe(observed, frame.camera, frame.media_time_s)
            read = semantics.label_observed(observed, frame.camera, frame.media_time_s)
            people = tuple(person.finished for person in read)
            labels.append(people)
            textures.update(Perceived(frame, observed, begins=not labels[1:]), people)
    return labels


def cannot_capture(*_: object) -> None:
    raise RuntimeError("operation not permitted when stream is capturing")


@pytest.mark.slow
@pytest.mark.parametrize("captures", [True, False])
def test_networks_on_a_gpu_say_what_they_say_on_the_cpu(captures: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # Both letterbox frames alike: else boxes, and all that is read in them, differ before any network does.
    monkeypatch.setattr(detect, "_SHAPES", (1.0,))
    with pretended_gpu(monkeypatch), monkeypatch.context() as patch:
        if not captures:
            patch.setattr(captured, "CudaGraph", cannot_capture)
        labels = labelled("cuda")
    assert len(labels) == FRAMES
    for (person,), (other,) in zip(labels, labelled("cpu"), strict=True):
        assert person.labels.keys() == other.labels.keys()
        for group in person.labels:
            found, expected = person.labels[group], other.labels[group]
            np.testing.assert_allclose(found, expected, atol=TOLERANCE_SIGMA, err_msg=group)


def test_cameras_share_the_networks_and_nothing_else() -> None:
    with VideoFileSource(DEMO_CLIP) as source:
        camera = camera_of(SenderConfig(device=DeviceConfig("cpu")), source)
        one, other = load_networks([camera, camera])
    for network in ("_perception", "_detector", "_verifier"):
        assert getattr(one.perception, network) is getattr(other.perception, network)
    assert one.perception._tracker is not other.perception._tracker
    assert one.semantics._estimator is not other.semantics._estimator
    assert one.semantics._space is other.semantics._space
    assert one.expression is other.expression


@pytest.mark.parametrize(("delivery", "live"), [("live", True), ("complete", False)])
def test_video_that_leaves_late_frames_out_is_read_as_a_camera_is(
    delivery: Literal["live", "complete"], live: bool
) -> None:
    config = SenderConfig(playback=PlaybackConfig(realtime=True), delivery=DeliveryConfig(delivery))
    with VideoFileSource(DEMO_CLIP) as source:
        camera = camera_of(config, source)
        assert load_networks([camera])[0].perception._live == live
        assert not load_networks([camera_of(SenderConfig(delivery=config.delivery), source)])[0].perception._live


def test_gpu_that_is_missing() -> None:
    config = SenderConfig(device=DeviceConfig("cuda:99"))
    with VideoFileSource(DEMO_CLIP) as source, pytest.raises(UsageError, match="--device cuda:99: this machine has"):
        load_networks([camera_of(config, source)])
