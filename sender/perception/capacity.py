"""How many people of a live camera this machine can follow, measured when the sender starts."""

import logging
import time
from functools import partial

import numpy as np

from common.text import counted
from common.weights.graph_cache import GRAPHS
from sender.perception.config import TrackerConfig, TrackingConfig
from sender.perception.inference.predictor import Perception
from sender.perception.inference.refine_boxes import predict_in_boxes

logger = logging.getLogger(__name__)

# Perception is the largest part of a person's time; all people's may take so long together, so that about ten frames a
# second are left.
_FRAME_S = 0.08
# More of a live scene are rarely meant.
_MOST_PEOPLE = 4
_TRIALS = 3
# Of several people, each takes less than one alone.
_PEOPLE = 2


def limits_of(tracking: TrackingConfig, perception: Perception, cameras: int) -> TrackerConfig:
    """Limits of a source's tracker; arguments as of `PerceptionStage.load`."""
    limits = tracking.limits(carried=partial(people_carried, perception, cameras) if cameras else None)
    if cameras:
        logger.info("following up to %s (--max-people)", counted(limits.max_people, "person", "people"))
    return limits


def people_carried(perception: Perception, cameras: int) -> int:
    """1…4 people of each of several cameras; perception sees all within 80 ms, in one view each."""
    return max(1, min(_MOST_PEOPLE, int(_FRAME_S / _person_s(perception) / cameras)))


def _person_s(perception: Perception) -> float:
    """The shortest time of one person, of several, seconds."""
    GRAPHS.wait_read()
    picture = np.zeros((perception.size, perception.size, 3), np.uint8)
    boxes = [np.array([0, 0, perception.size, perception.size], np.float32)] * _PEOPLE
    times = []
    for _ in range(_TRIALS):
        began = time.perf_counter()
        predict_in_boxes(perception, picture, boxes, view="plain")
        times.append((time.perf_counter() - began) / _PEOPLE)
    return min(times)
