"""Silhouettes of the received meshes of people in photographs, in their annotated boxes, against a mask.

These photographs have no annotated masks.  The mask is that of perception's own mask head in the same crop, so that the
figures say whether the meshes agree with what the sender saw, not whether it saw correctly.  It lacks what something
else hides, which the meshes cover: no mesh reaches an IoU of 1 there.

    people               annotated people with a mask
    iou                  of the dressed surface
    iou_template         of the displaced template
    iou_bare             of the skinned body without clothes
    iou_gain             mean of iou − iou_bare, ± one standard error over people
    better_share         people whose surface fits better than the body without clothes
"""

from collections.abc import Iterable

import numpy as np

from common.arrays import BoolArray, Image
from common.frames import Camera
from receiver.mesh.triangle_mesh import SurfaceMesh
from sender.clothing.stage import ClothingStage
from sender.perception.inference.crop import CropBox
from sender.perception.inference.predictor import Perception
from sender.perception.inference.zoom_augmentation import predict_zoomed
from sender.perception.stage import ObservedPerson
from sender.semantics.stage import SemanticsStage
from tests.bench.crop_view import in_crop
from tests.bench.measures import intersection_over_union, mean_by_key, standard_error
from tests.bench.photo_crops import BoxedPeople
from tests.bench.reconstruction_scores import Receiver, visible_surface

# Cells of a mask with fewer of the person are noise.
_MIN_MASK_CELLS = 16


class BoxedReconstruction:
    """Sender and receiver in process, without detector and codec: a crop in, meshes out.

    Raises:
        WeightsError: weights are missing or of another version.
    """

    def __init__(self) -> None:
        self._perception, self._semantics = Perception.load(), SemanticsStage.load()
        self._clothing, self._receiver = ClothingStage.load(), Receiver()

    def ious(self, image: Image, camera: Camera, crop: CropBox) -> dict[str, float] | None:
        """IoU of each mesh of the person in a crop with the mask there; None without a mask."""
        output = predict_zoomed(self._perception, image, [crop])
        mask = np.asarray(output.mask_logits[0].numpy() > 0)
        if mask.sum() < _MIN_MASK_CELLS:
            return None
        self._semantics.reset()
        self._clothing.reset()
        observed = [ObservedPerson(0, 1.0, crop, output)]
        people = self._semantics.label(observed, camera)
        labels = self._clothing.label(image, camera, observed, people)[0]
        found = self._receiver.reconstruct([labels], camera)[0]
        meshes = {"iou": found.surface, "iou_template": found.body.mesh, "iou_bare": self._receiver.bare(labels)}
        inside = _inside(image, crop, len(mask))
        return {name: _iou(mesh, camera, crop, mask, inside) for name, mesh in meshes.items()}


def _iou(mesh: SurfaceMesh, camera: Camera, crop: CropBox, mask: BoolArray, inside: BoolArray) -> float:
    # `visible_surface` has half the resolution of its camera.
    silhouette, _ = visible_surface(*in_crop(mesh, camera, crop, 2 * len(mask)))
    return intersection_over_union(silhouette & inside, mask & inside)


def _inside(image: Image, crop: CropBox, size: int) -> BoolArray:
    """(size, size) cells of a crop that lie in the picture."""
    return np.asarray(crop.cut(np.full_like(image, 255), size)[..., 0] > 127)


def silhouettes(people: BoxedPeople, system: BoxedReconstruction) -> dict[str, float]:
    """Figures of everybody; empty if nobody has a mask."""
    found = (system.ious(image, camera, crop) for image, camera, crop in people.crops())
    return summary(own for own in found if own is not None)


def summary(people: Iterable[dict[str, float]]) -> dict[str, float]:
    """Means over people, and what clothes add."""
    rows = list(people)
    if not rows:
        return {}
    gain = np.array([row["iou"] - row["iou_bare"] for row in rows])
    return {
        "people": float(len(rows)),
        **mean_by_key(rows),
        "iou_gain": float(gain.mean()),
        "iou_gain_standard_error": standard_error(gain),
        "better_share": float((gain > 0).mean()),
    }
