"""Which texels a frame shows."""

import dataclasses

import numpy as np

from common.body.model import BodyModel
from common.frames import Camera
from sender.texture.atlas import AtlasCamera, AtlasView, Observation
from tests.support.pictures.synthetic_observation import CAMERA, RenderedPerson


def vertices_of(person: RenderedPerson, model: BodyModel) -> np.ndarray:
    return np.asarray(model(person.parameters).vertices[0].detach().numpy())


def view_of(
    person: RenderedPerson, model: BodyModel, atlas_camera: AtlasCamera, camera: Camera = CAMERA, blind: bool = False
) -> AtlasView:
    observed = person.observed()
    observation = Observation.from_output(observed.crop, observed.output)
    if blind:
        observation = dataclasses.replace(observation, mask_weight=np.zeros_like(observation.mask_weight))
    return atlas_camera.view(person.image, observed.crop, observation, vertices_of(person, model), camera)


def test_visible_texels_face_the_camera(front: RenderedPerson, model: BodyModel, atlas_camera: AtlasCamera) -> None:
    view = view_of(front, model, atlas_camera)
    assert len(view.texels) > 10_000 and (view.weights > 0).all() and view.weights.max() <= 1
    assert (view.normals[:, 2] < 0).mean() > 0.98
    layout = atlas_camera.layout
    positions = np.einsum(
        "tc,tcd->td", layout.barycentric[view.texels], vertices_of(front, model)[layout.corners[view.texels]]
    )
    pixels = CAMERA.project(positions.astype(np.float32)).astype(int)
    on_person = front.part[pixels[:, 1], pixels[:, 0]] > 0
    near = np.abs(front.depth[pixels[:, 1], pixels[:, 0]] - positions[:, 2]) < 0.04
    assert on_person.mean() > 0.99 and near[on_person].mean() > 0.98


def test_nothing_is_seen_outside_the_mask(front: RenderedPerson, model: BodyModel, atlas_camera: AtlasCamera) -> None:
    assert len(view_of(front, model, atlas_camera, blind=True).texels) == 0


def test_distant_person_weighs_less(front: RenderedPerson, model: BodyModel, atlas_camera: AtlasCamera) -> None:
    """Twice as large and twice as far away, a person looks the same, but each pixel covers twice as much of them."""
    observed = front.observed()
    observation = Observation.from_output(observed.crop, observed.output)
    vertices = vertices_of(front, model)
    near, far = (
        atlas_camera.view(front.image, observed.crop, observation, size, CAMERA)
        for size in (vertices, vertices + vertices)
    )
    ratio = np.median(far.weights) / np.median(near.weights)
    assert 0.15 < ratio < 0.5
