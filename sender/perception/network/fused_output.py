"""Perception's output with the keypoints of two networks, fused; perception's own stay beside them.

What was learned on perception's own keypoints (features, the verifier's evidence) reads `own`.

Shapes: B crops, J = 17 COCO keypoints.
"""

from dataclasses import dataclass, fields

from torch import Tensor

from sender.perception.network.output import PerceptionOutput

_OWN = "own_"


@dataclass(frozen=True, slots=True)
class FusedOutput(PerceptionOutput):
    """Perception's output, whose `keypoints_2d`, `keypoints_sigma` and `visible_logit` are those of both networks.

    Args:
        own_keypoints_2d, own_keypoints_sigma, own_visible_logit: perception's.
        second_score: (B, J) of the other network, 0…1.
        second_keypoints_2d: (B, J, 2) its keypoints.
    """

    own_keypoints_2d: Tensor
    own_keypoints_sigma: Tensor
    own_visible_logit: Tensor
    second_score: Tensor
    second_keypoints_2d: Tensor

    @classmethod
    def of(
        cls,
        output: PerceptionOutput,
        keypoints_2d: Tensor,
        keypoints_sigma: Tensor,
        visible_logit: Tensor,
        second_score: Tensor,
        second_keypoints_2d: Tensor,
    ) -> "FusedOutput":
        """Perception's output with the keypoints of both networks in the place of its own."""
        own = {item.name: getattr(output, item.name) for item in fields(PerceptionOutput)}
        fused = {
            "keypoints_2d": keypoints_2d,
            "keypoints_sigma": keypoints_sigma,
            "visible_logit": visible_logit,
        }
        second = {"second_score": second_score, "second_keypoints_2d": second_keypoints_2d}
        return cls(**own | fused, **{_OWN + name: own[name] for name in fused}, **second)

    @property
    def own(self) -> PerceptionOutput:
        """The output of perception alone."""
        names = [item.name for item in fields(PerceptionOutput)]
        return PerceptionOutput(**{name: getattr(self, _OWN + name, getattr(self, name)) for name in names})
