"""Movement of a person who stands still."""

from dataclasses import dataclass

import numpy as np
import pytest

from common.arrays import FloatArray
from receiver.engine.engine import ReconstructedPerson
from receiver.mesh.triangle_mesh import SurfaceMesh
from receiver.surface.stage import SurfaceStage
from tests.bench.still import FRAMES, SETTLING_FRAMES, Movement, clip_figures, noisy_frames, summary
from tests.support.shapes import sphere


@dataclass(frozen=True)
class Skinned:
    mesh: SurfaceMesh


@dataclass(frozen=True)
class Person:
    """The parts of a `ReconstructedPerson` that move."""

    surface: SurfaceMesh
    body: Skinned
    joints_3d: FloatArray


BALL = SurfaceStage().reconstruct(*sphere())


def person(shift_m: float) -> ReconstructedPerson:
    """A sphere moved along x."""
    by = np.array([shift_m, 0, 0], np.float32)
    mesh = SurfaceMesh(BALL.vertices + by, BALL.faces)
    return Person(mesh, Skinned(mesh), np.zeros((17, 3), np.float32) + by)  # type: ignore[return-value]


def test_movement_of_vertices_and_of_the_surface() -> None:
    movement = Movement.between(person(0.0), person(0.003))
    assert movement.template == pytest.approx(0.003, abs=1e-6)
    assert movement.joints == pytest.approx(0.003, abs=1e-6)
    # Where the sphere moves along itself, its surface stays.
    assert movement.surface.min() < 0.001 < movement.surface.max() <= 0.0031
    assert Movement.between(person(0.0), person(0.0)).surface.max() < 1e-6


def test_settled_figures_leave_out_the_first_second() -> None:
    people = [person(0.002 * min(frame, SETTLING_FRAMES)) for frame in range(SETTLING_FRAMES + 4)]
    found = clip_figures(people)
    assert found["settled"]["template_rms_mm"] == pytest.approx(0, abs=1e-3)
    expected_mm = 2 * np.sqrt(SETTLING_FRAMES / (SETTLING_FRAMES + 3))
    assert found["all frames"]["template_rms_mm"] == pytest.approx(expected_mm, abs=1e-2)
    assert found["all frames"]["template_p95_mm"] == pytest.approx(2, abs=1e-2)
    assert found["all frames"]["worst_frame_mm"] == pytest.approx(2, abs=1e-2)


def test_frames_without_the_person_are_counted_and_not_bridged() -> None:
    found = clip_figures([person(0.0), None, person(0.5), person(0.5)])["all frames"]
    assert found["seen"] == 0.75 and found["template_rms_mm"] == pytest.approx(0, abs=1e-6)


def test_summary_has_the_worst_clip() -> None:
    clips = [{"settled": {"template_rms_mm": value}} for value in (1.0, 3.0)]
    assert summary(clips)["settled"] == {"template_rms_mm": 2.0, "worst_clip_template_rms_mm": 3.0}


def test_frames_differ_in_noise_only() -> None:
    picture = np.full((48, 64, 3), 120, np.uint8)
    frames = np.stack(list(noisy_frames(picture, 8, np.random.default_rng(0)))).astype(np.float32)
    assert len(frames) < FRAMES and not np.array_equal(frames[0], frames[1])
    assert frames.mean() == pytest.approx(120, abs=1)
    assert 0.5 < frames.std(axis=0).mean() < 5
