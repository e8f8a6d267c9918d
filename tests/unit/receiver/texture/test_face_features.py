"""Where the features of the template's face are."""

import numpy as np
import pytest

from common.body.anatomy import COCO_KEYPOINTS
from common.body.model import BodyModel
from common.body.template import BodyTemplate
from receiver.texture.face_features import FaceFeatures, FaceGeometry


@pytest.fixture(scope="module")
def geometry(body: BodyModel, template: BodyTemplate) -> FaceGeometry:
    return FaceGeometry(body, template)


@pytest.fixture(scope="module")
def features(geometry: FaceGeometry) -> FaceFeatures:
    """At the template's vertices."""
    return geometry.at_vertices


def centre(template: BodyTemplate, opacity: np.ndarray) -> np.ndarray:
    """Of a feature on the left side."""
    chosen = (opacity > 0.5) & (template.rest[:, 0] >= 0)
    assert chosen.sum() > 3
    return np.asarray(template.rest[chosen].mean(axis=0))


def test_irises_are_at_the_eyes(body: BodyModel, template: BodyTemplate, features: FaceFeatures) -> None:
    keypoint = body.coco_keypoints(body.rest_vertices[:1])[0, COCO_KEYPOINTS.index("left_eye")].numpy()
    assert np.linalg.norm((centre(template, features.iris) - keypoint)[:2]) < 0.01
    assert (features.iris <= features.eyes).all() and (features.pupils <= features.iris).all()


def test_brows_are_above_the_eyes_and_lips_of_a_mouths_size_below_the_nose(
    template: BodyTemplate, features: FaceFeatures
) -> None:
    brow, iris, nostril, lips = (centre(template, getattr(features, n)) for n in ("brows", "iris", "nostrils", "lips"))
    assert brow[1] < iris[1] < nostril[1] < lips[1]
    assert 0.008 < iris[1] - brow[1] < 0.025
    size = np.ptp(template.rest[features.lips > 0.5], axis=0)
    assert 0.035 < size[0] < 0.07 and 0.008 < size[1] < 0.03


def test_features_are_alike_on_both_sides_and_only_in_the_face(template: BodyTemplate, features: FaceFeatures) -> None:
    for name in ("brows", "lashes", "iris", "lips", "nostrils", "blush"):
        opacity = getattr(features, name)
        np.testing.assert_allclose(opacity[template.mirror], opacity, atol=0.15)
    for name in FaceFeatures.__slots__:
        assert not getattr(features, name)[template.rest[:, 1] > -0.5].any(), name


def test_lashes_are_at_the_lids(template: BodyTemplate, body: BodyModel, features: FaceFeatures) -> None:
    lids = body.rest_vertices[0].numpy()[body.eyes.numpy()[:, 0]].reshape(-1, 3)
    drawn = template.rest[features.lashes > 0.3]
    distance = np.linalg.norm(drawn[:, None] - lids * np.ones((1, 1, 3)), axis=-1).min(axis=1)
    assert len(drawn) > 50 and distance.max() < 0.003


def test_landmarks_lie_at_their_features(template: BodyTemplate, geometry: FaceGeometry) -> None:
    left, right, mouth, nose = (template.rest[part].mean(axis=0) for part in geometry.landmarks)
    np.testing.assert_allclose(left, right * [-1, 1, 1], atol=2e-3)
    assert left[0] > 0.02 and left[1] < nose[1] < mouth[1] and nose[2] < min(left[2], mouth[2])
