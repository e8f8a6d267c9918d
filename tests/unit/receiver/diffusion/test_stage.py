import numpy as np
import pytest
import torch

from common.body.anatomy import REGIONS
from common.body.model import BodyModel, BodyParameters
from common.body.rotations import axis_angle_to_matrix
from receiver.decode.stage import DecodedBody
from receiver.diffusion.stage import DiffusionNetwork, DiffusionStage, PointCloud, SamplingConfig
from tests.unit.receiver.diffusion.test_condition import TINY, levels


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


@pytest.fixture(scope="module")
def stage(body: BodyModel) -> DiffusionStage:
    torch.manual_seed(0)
    order = torch.randperm(2048, generator=torch.Generator().manual_seed(0))
    return DiffusionStage(DiffusionNetwork(TINY, order), body)


def decoded(batch: int = 2, coloured: bool = False) -> DecodedBody:
    s_1, s_2, s_3 = levels(batch=batch)
    return DecodedBody(
        BodyParameters.rest(batch),
        (s_1, s_2, s_3),
        torch.zeros(batch, 8),
        torch.rand(batch, len(REGIONS), 3),
        torch.full((batch,), coloured),
    )


def select(batch: DecodedBody, row: int) -> DecodedBody:
    s_1, s_2, s_3 = (s[row : row + 1] for s in batch.s_levels)
    rows = slice(row, row + 1)
    return DecodedBody(
        batch.parameters[rows], (s_1, s_2, s_3), batch.z_prime[rows], batch.colours[rows], batch.coloured[rows]
    )


def test_reconstruct_gives_oriented_points_for_every_person(stage: DiffusionStage) -> None:
    clouds = stage.reconstruct(decoded())
    assert len(clouds) == 2
    for cloud in clouds:
        assert cloud.points.shape == cloud.normals.shape == (2048, 3)
        assert cloud.points.dtype == np.float32 and cloud.colours is None
        np.testing.assert_allclose(np.linalg.norm(cloud.normals, axis=1), 1.0, atol=1e-4)


def test_reconstruct_is_independent_of_the_batch(stage: DiffusionStage) -> None:
    batch = decoded()
    alone, batched = stage.reconstruct(select(batch, 1))[0], stage.reconstruct(batch)[1]
    np.testing.assert_allclose(alone.points, batched.points, atol=1e-4)


def test_cloud_depends_on_the_seed_only(stage: DiffusionStage) -> None:
    first, again, other = (stage.reconstruct(decoded(), seed=seed)[0].points for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0


def test_starting_state_is_the_skinned_body_in_its_root_frame(stage: DiffusionStage, body: BodyModel) -> None:
    bodies = decoded()
    rotated = BodyParameters.rest(2)
    rotated.rotations[:, 0] = axis_angle_to_matrix(torch.tensor([0.0, 2.0, 0.0]))
    rest = body.surface_points(body.rest(torch.zeros(1, 10))[0])[0][0]
    decoded_bodies = DecodedBody(rotated, bodies.s_levels, bodies.z_prime, bodies.colours, bodies.coloured)
    state = stage.starting_state(decoded_bodies, [None, None])
    root = body.rest(torch.zeros(1, 10))[1][0, 0]
    torch.testing.assert_close(state[0, :, :3], (rest - root)[stage.network.point_order], rtol=0, atol=1e-4)


def test_starting_state_is_the_previous_cloud_if_given(stage: DiffusionStage) -> None:
    previous = stage.reconstruct(decoded())[0]
    state = stage.starting_state(decoded(), [previous, None])
    order = stage.network.point_order.numpy()
    np.testing.assert_array_equal(state[0, :, :3].numpy(), previous.points[order])
    with pytest.raises(ValueError, match="initial clouds"):
        stage.starting_state(decoded(), [previous])


def test_colours_follow_the_region_of_each_point(stage: DiffusionStage, body: BodyModel) -> None:
    bodies = decoded(coloured=True)
    colours = stage.reconstruct(bodies)[0].colours
    assert colours is not None
    np.testing.assert_allclose(colours, bodies.colours[0, body.point_regions()].numpy())


@pytest.mark.parametrize("sampler", ["consistency_multistep", "ddim", "heun", "paper"])
def test_every_sampler_runs(stage: DiffusionStage, body: BodyModel, sampler: str) -> None:
    config = SamplingConfig(sampler=sampler)  # type: ignore[arg-type]
    assert np.isfinite(DiffusionStage(stage.network, body, config).reconstruct(decoded())[0].points).all()


@pytest.mark.parametrize("changes", [{"sampler": "ddpm"}, {"steps": 0}, {"sigma_start_m": 3.0}])
def test_invalid_sampling_config_is_rejected(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        SamplingConfig(**changes)  # type: ignore[arg-type]


def test_placed_rotates_normals_and_transforms_points() -> None:
    cloud = PointCloud(np.array([[1.0, 0, 0]], np.float32), np.array([[0, 0, 1.0]], np.float32))
    quarter = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]], np.float32)
    placed = cloud.placed(quarter, np.array([0, 0, 3.0], np.float32))
    np.testing.assert_allclose(placed.points, [[0, 0, 2.0]], atol=1e-6)
    np.testing.assert_allclose(placed.normals, [[1.0, 0, 0]], atol=1e-6)
