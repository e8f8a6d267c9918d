"""The space of heads, of axes that are made up."""

import numpy as np
import pytest
import torch

from common.arrays import Float64Array
from common.body.head_shapes import head_shapes
from common.body.model import BodyModel
from sender.train.heads.space import ENTRIES, HeadSurface, in_place, places_of, smoothed, space_of

SIZE = 30


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


@pytest.fixture(scope="module")
def surface(body: BodyModel) -> HeadSurface:
    return HeadSurface(body)


@pytest.fixture(scope="module")
def places(surface: HeadSurface) -> Float64Array:
    return places_of(surface)


def test_places_are_of_the_left_half_and_close_on_the_face(surface: HeadSurface, places: Float64Array) -> None:
    assert (places[:, 0] >= 0).all() and (places[:, 0] == 0).any()
    distances = np.linalg.norm(places[:, None] - places, axis=2) + np.eye(len(places))
    assert distances.min() > 0.008
    away = np.linalg.norm(surface.rest[surface.face][:, None] - places, axis=2)
    left = surface.rest[surface.face, 0] >= 0
    assert away[left].min(axis=1).max() < 0.016


def test_a_field_of_places_is_found_again(body: BodyModel, surface: HeadSurface, places: Float64Array) -> None:
    moves = np.random.default_rng(2).normal(0, 1e-3, (len(places), 2, 3))
    moves[places[:, 0] == 0, :, 0] = 0
    half = torch.from_numpy(places).float()
    fields = head_shapes(body, half, torch.from_numpy(moves).float()).numpy()
    found = smoothed(surface, places, fields.astype(np.float64))
    again = head_shapes(body, half, torch.from_numpy(found).float()).numpy()
    assert np.linalg.norm(fields, axis=2).max() > 1e-3
    assert np.linalg.norm(again - fields, axis=2)[:, surface.face].max() < 1e-5


def test_place_direction_and_size_of_the_face_stay(surface: HeadSurface) -> None:
    turned = np.cross([0.1, -0.2, 0.05], surface.rest)
    similar = np.stack([turned, 0.1 * surface.rest, np.ones_like(surface.rest)])
    left = in_place(surface, similar)
    assert np.abs(left[:, surface.face]).max() < 1e-9
    # The body below the neck is moved by nothing that is taken off.
    assert np.abs((left - similar)[:, surface.fade == 0]).max() == 0


def test_the_entries_are_what_landmarks_tell_and_the_rest_is_kept(surface: HeadSurface) -> None:
    rng = np.random.default_rng(4)
    count = ENTRIES + 4
    axes = 1e-3 * np.sin(np.abs(surface.rest) @ rng.normal(0, 40, (count, 3, 3)))
    axes[..., 0] *= np.sign(surface.rest[:, 0])
    landmarks = rng.normal(0, 1, (count, SIZE))
    # Landmarks show nothing of the last four.
    landmarks[ENTRIES:] = 0
    space = space_of(surface, axes, landmarks, np.eye(count), 0.01 * np.eye(SIZE))
    assert space.by_head.shape == (ENTRIES, SIZE)
    assert np.linalg.norm(space.beyond) < 0.05 * np.linalg.norm(space.by_head)
    shown = space.by_head.T @ space.by_head + space.beyond.T @ space.beyond
    np.testing.assert_allclose(shown, landmarks.T @ landmarks, atol=1e-8)
    assert 1e-4 < np.abs(space.moves_m).max() < 1e-2
