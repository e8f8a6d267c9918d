"""Outlines of heads in drawn pictures, whose masks are the pictures themselves."""

from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
import pytest
from torch import Tensor

from common.arrays import FloatArray, Image
from common.head_outline import SECTORS
from sender.attributes.kind_reader import OutlineMemory, OutlineReader
from sender.face.landmarks import FaceLandmarks

RADIUS_M, PX_PER_M = 0.1, 500.0
SIZE = 600
CROWN, TEMPLES, EARS, JAW = range(len(SECTORS))


def whiteness(picture: Tensor) -> tuple[Tensor]:
    """A person is what is white."""
    assert picture.shape == (1, 256, 256, 3)
    return (picture.mean(dim=-1, keepdim=True),)


@pytest.fixture
def reader() -> OutlineReader:
    """Of a bare head that is a ball, with landmarks on its front."""
    directions = np.random.default_rng(0).normal(size=(4000, 3))
    ball = RADIUS_M * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    template = ball[ball[:, 2] < -0.05][:60]
    shares = np.full(len(template), 1 / len(template))
    return OutlineReader(cast(Any, whiteness), ball.astype(np.float32), template, shares)


def face(reader: OutlineReader, middle: tuple[float, float], *, turn: FloatArray | None = None) -> FaceLandmarks:
    points = PX_PER_M * reader._template @ (np.eye(3) if turn is None else turn).T
    points[:, :2] += middle
    return cast(FaceLandmarks, SimpleNamespace(points=points))


def picture(middle: tuple[int, int], *axes_m: float) -> Image:
    """An ellipse, half as wide and half as high."""
    drawn = np.zeros((SIZE, SIZE, 3), np.uint8)
    return np.asarray(
        cv2.ellipse(drawn, middle, [round(PX_PER_M * each) for each in axes_m], 0, 0, 360, (255,) * 3, -1)
    )


def read(reader: OutlineReader, image: Image, face: FaceLandmarks) -> FloatArray:
    outline = reader.read(image, face)
    assert outline is not None
    return outline


def test_hair_reaches_as_far_as_the_person_does(reader: OutlineReader) -> None:
    for beyond_m in (-0.015, 0.0, 0.04, 0.1):
        image = picture((300, 300), *2 * (RADIUS_M + beyond_m,))
        assert read(reader, image, face(reader, (300, 300))) == pytest.approx(beyond_m, abs=0.006)


def test_upright_is_along_the_head(reader: OutlineReader) -> None:
    tall, angle = picture((300, 300), RADIUS_M, RADIUS_M + 0.06), np.deg2rad(30)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]], np.float32)
    lying = np.asarray(cv2.warpAffine(tall, cv2.getRotationMatrix2D((300, 300), -30, 1), (SIZE, SIZE)), np.uint8)
    for image, own in ((tall, face(reader, (300, 300))), (lying, face(reader, (300, 300), turn=turn))):
        outline = read(reader, image, own)
        assert outline[CROWN] == pytest.approx(0.055, abs=0.01) and outline[EARS] == pytest.approx(0, abs=0.01)


def test_what_the_picture_cuts_off_is_not_known(reader: OutlineReader) -> None:
    image = picture((300, 300), RADIUS_M + 0.02, RADIUS_M + 0.02)
    own = face(reader, (300, 300))
    cut = read(reader, np.ascontiguousarray(image[:318]), own)
    assert np.isnan(cut[JAW]) and cut[:JAW] == pytest.approx(0.02, abs=0.006)
    own.points[:, 1] -= 270
    assert reader.read(np.ascontiguousarray(image[270:]), own) is None, "the crown is cut off"


def test_face_that_is_turned_away_tells_nothing(reader: OutlineReader) -> None:
    angle = np.deg2rad(60)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]], np.float32)
    assert reader.read(picture((300, 300), 0.1, 0.1), face(reader, (300, 300), turn=turn)) is None


def test_memory_is_the_mean_of_looks_and_keeps_what_is_hidden_later() -> None:
    memory = OutlineMemory()
    for number in range(8):
        hidden = np.nan if number > 3 else 0.1
        memory.add(np.array([0.02 + 0.004 * (-1) ** number, hidden], np.float32))
        memory.add(None)
    assert memory.mean == pytest.approx([0.02, 0.1], abs=2e-3)
