import numpy as np
import pytest
import scipy.ndimage

from common.arrays import FloatArray
from receiver.mesh.triangle_mesh import is_watertight, signed_volume_m3
from receiver.surface.stage import largest_component, march, taubin_smooth


def _ball(shape: tuple[int, int, int], centre: tuple[float, float, float], radius: float) -> FloatArray:
    """Signed distance to a sphere, positive inside."""
    nodes = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    return np.asarray(radius - np.linalg.norm(nodes - np.array(centre), axis=-1), dtype=np.float32)


def test_march_winds_outwards() -> None:
    vertices, faces = march(_ball((32, 32, 32), (15.5, 15.5, 15.5), 10.0), 0.0)
    assert signed_volume_m3(vertices, faces) == pytest.approx(4.0 / 3.0 * np.pi * 10.0**3, rel=0.03)


@pytest.mark.parametrize("seed", range(20))
def test_march_is_watertight_on_random_fields(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(size=(24, 20, 28))
    field = scipy.ndimage.gaussian_filter(noise, 1.0 + 0.1 * seed).astype(np.float32)
    vertices, faces = march(field, float(field.mean()))
    assert is_watertight(faces, len(vertices))


def test_march_when_nodes_equal_the_isovalue() -> None:
    field = np.zeros((16, 16, 16), np.float32)
    field[4:12, 4:12, 4:12] = 0.5
    field[6:10, 6:10, 6:10] = 1.0
    vertices, faces = march(field, 0.5)
    assert is_watertight(faces, len(vertices))
    corners = vertices[faces]
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    assert areas.min() > 0.0


def test_march_closes_a_surface_that_crosses_the_border() -> None:
    vertices, faces = march(_ball((24, 24, 24), (0.0, 12.0, 12.0), 9.0), 0.0)
    assert is_watertight(faces, len(vertices))


def test_march_rejects_a_flat_field_and_a_level_above_the_maximum() -> None:
    with pytest.raises(ValueError, match="flat"):
        march(np.ones((8, 8, 8), np.float32), 0.0)
    with pytest.raises(ValueError, match="inside"):
        march(_ball((16, 16, 16), (8.0, 8.0, 8.0), 5.0), 100.0)


def test_largest_component_drops_the_smaller_one() -> None:
    field = np.maximum(_ball((48, 32, 32), (15.0, 15.0, 15.0), 10.0), _ball((48, 32, 32), (38.0, 15.0, 15.0), 4.0))
    vertices, faces = march(field, 0.0)
    kept_vertices, kept_faces = largest_component(vertices, faces)
    assert kept_vertices[:, 0].max() < 26.0
    assert 0.05 < 1 - len(kept_faces) / len(faces) < 0.3
    assert is_watertight(kept_faces, len(kept_vertices))


def test_taubin_smooth_reduces_noise_and_keeps_the_volume() -> None:
    vertices, faces = march(_ball((48, 48, 48), (23.5, 23.5, 23.5), 18.0), 0.0)
    noisy = vertices + np.random.default_rng(0).normal(scale=0.3, size=vertices.shape).astype(np.float32)
    smooth = taubin_smooth(noisy, faces, iterations=10)
    deviations = [float(np.linalg.norm(v - 23.5, axis=1).std()) for v in (noisy, smooth)]
    assert deviations[1] < 0.5 * deviations[0]
    assert signed_volume_m3(smooth, faces) == pytest.approx(signed_volume_m3(vertices, faces), rel=0.02)
