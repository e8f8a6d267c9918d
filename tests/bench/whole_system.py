"""The library with the codec between both ends: a frame in, what the sender saw and what the receiver rebuilt out."""

from bodywire.both_ends import BothEnds
from bodywire.loading import loaded
from common.frames import LabelFrame
from common.weights.devices import CPU
from common.weights.manifest import model_hash
from sender.attributes.kind_reader import KindStage
from sender.config import TrackerConfig
from sender.importance import Importance
from tests.bench.bytes.rates import CodecPair, unconstrained_rho
from tests.bench.perceived import networks_of_labels


def whole_system(limits: TrackerConfig, *, stills: bool = False) -> BothEnds:
    """A session of all stages but colours, faces and hands; `stills` as of `BothEnds`.

    Raises:
        WeightsError: weights are missing.
    """
    codec, importance, ends = CodecPair(model_hash()), Importance.load(), loaded()

    def through_codec(labels: LabelFrame) -> LabelFrame:
        rho = unconstrained_rho(importance, labels.people[0]) if labels.people else {}
        return codec.send(labels, rho).frame

    stages = (KindStage.load(CPU, stills=stills),)
    return BothEnds(ends, networks_of_labels(limits), stages, stills=stills, between=through_codec)
