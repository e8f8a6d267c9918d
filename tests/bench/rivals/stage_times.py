"""Times of the stages that all systems share, on the first frames of a clip."""

import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np

from common.codec.frame_codec import FrameCodec
from common.weights.manifest import model_hash
from receiver.engine.engine import ReconstructionRequest
from receiver.engine.reconstructor import Reconstructor
from sender.importance.importance import Importance
from tests.bench.perceived import FrameSender
from tests.bench.rates import as_frame, unconstrained_rho
from tests.bench.rivals.clips import PerceivedClip, captured_frames
from tests.bench.rivals.scenarios import StageTimes

_FRAMES = 40
# The first frames, with cold caches and the search for people, are left out.
_WARM_UP = 5
Value = TypeVar("Value")


def measure(clip: PerceivedClip, sender: FrameSender) -> StageTimes:
    """Median times of a frame.

    Raises:
        WeightsError: weights are missing or of another version.
    """
    reconstructor, importance, networks = Reconstructor.load(), Importance.load(), model_hash()
    encoder, decoder = FrameCodec(networks), FrameCodec(networks)
    spent_ms: dict[str, list[float]] = {"perceive_ms": [], "encode_ms": [], "decode_ms": [], "reconstruct_ms": []}

    def timed(stage: str, work: Callable[[], Value]) -> Value:
        began_s = time.perf_counter()
        result = work()
        spent_ms[stage].append((time.perf_counter() - began_s) * 1e3)
        return result

    frames = captured_frames("stage times", clip.clip.pictures[:_FRAMES], clip.clip.camera)
    for captured, person in zip(frames, clip.people, strict=False):
        timed("perceive_ms", partial(sender.label, captured))
        labels, rho = as_frame(person, captured.sequence, captured.camera), unconstrained_rho(importance, person)
        encoded = timed("encode_ms", partial(encoder.encode, labels, rho))
        decoded = timed("decode_ms", partial(decoder.decode, encoded.payload, captured.sequence))
        encoder.acknowledge(captured.sequence)
        request = ReconstructionRequest("bench", "bench", decoded.frame)
        timed("reconstruct_ms", partial(reconstructor.reconstruct, request))
    medians = {stage: float(np.median(values[_WARM_UP:] or values)) for stage, values in spent_ms.items()}
    return StageTimes(**medians)
