"""Places of training photographs in which the detector proposes somebody and nobody is: hard negatives.

A proposal counts if it hardly overlaps an annotated box or a crowd, and the verifier, which has learned from other
photographs, is certain that it shows nobody: annotations leave people out.  They are learned from as crops without a
person by perception, and as background by the detector, whose loss otherwise leaves out what might be somebody.
"""

import numpy as np

from common.arrays import FloatArray
from sender.perception.inference.detector import Detector
from sender.perception.inference.predictor import Perception
from sender.perception.inference.refine_boxes import predict_in_boxes
from sender.perception.inference.verifier import Verifier
from sender.train.frames.scores import shares_inside
from sender.train.photographs.dataset import Photograph

# Below this score the detector hardly proposes a place; people are not proposed there either.
_MIN_SCORE = 0.08
_MAX_PROPOSALS = 8
# Largest share of a proposal inside an annotated box.
_MAX_SHARED = 0.1
_MAX_PRESENCE = 0.25
_MIN_SIDE_PX = 24


class FalseProposals:
    """Finds them, with the package's networks."""

    def __init__(self, perception: Perception) -> None:
        self._perception = perception
        self._detector, self._verifier = Detector.load(), Verifier.load()
        self._detector.threshold = _MIN_SCORE

    def of(self, item: Photograph) -> FloatArray:
        """(k, 4) boxes of a photograph, in its pixels, the detector's surest first."""
        found = self._detector.find(item.image)
        annotated = np.concatenate([item.boxes, item.crowds])
        free = [each for each in found if _is_free(each.box, annotated)][:_MAX_PROPOSALS]
        if not free:
            return np.zeros((0, 4), np.float32)
        boxes = [proposal.box for proposal in free]
        output = predict_in_boxes(self._perception, item.image, boxes).output
        presence = self._verifier.presence(output, [proposal.score for proposal in free])
        return np.stack(boxes)[presence <= _MAX_PRESENCE].astype(np.float32).reshape(-1, 4)


def _is_free(box: FloatArray, annotated_n4: FloatArray) -> bool:
    """Whether a box is large enough and hardly in any annotated one."""
    large = (box[2:] - box[:2]).max() >= _MIN_SIDE_PX
    return bool(large and (shares_inside(box[None], annotated_n4) <= _MAX_SHARED).all())
