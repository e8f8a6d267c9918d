"""Options of the pool: what is refused, and how."""

import pytest

from common.errors import UsageError
from common.io.addresses import Address
from receiver.config import EngineConfig, PublishConfig


def test_cluster_is_joined_at_its_address() -> None:
    config = EngineConfig(engine="ray:[::1]:6379", replicas="2-5")
    assert (config.kind, config.address) == ("ray", Address("::1", 6379))
    assert (config.least_replicas, config.most_replicas) == (2, 5)
    assert EngineConfig(engine="ray", replicas="3").least_replicas == EngineConfig(replicas="3").most_replicas == 3


@pytest.mark.parametrize("engine", ["", "gpu", "local:1", "ray:", "ray:studio", "ray:studio:x", "ray://studio:10001"])
def test_engine_that_does_not_exist(engine: str) -> None:
    with pytest.raises(ValueError, match=r"--engine"):
        EngineConfig(engine=engine)


@pytest.mark.parametrize(
    "wrong",
    [
        {"replicas": "0"},
        {"replicas": "3-2"},
        {"replicas": "many"},
        {"replica_cpus": 0.0},
        {"replica_gpus": -0.5},
        {"replica_gpus": 1.5},
    ],
)
def test_config_refuses_what_cannot_be(wrong: dict[str, float | str]) -> None:
    with pytest.raises(ValueError, match="--replica"):
        EngineConfig(**wrong)  # type: ignore[arg-type]


def test_device_must_be_one_that_the_replicas_have() -> None:
    EngineConfig(engine="ray", replica_gpus=0.5).check("cuda")
    assert EngineConfig(engine="ray", replica_gpus=0.5).replica_device == "cuda"
    assert EngineConfig(engine="ray").replica_device == "cpu"
    with pytest.raises(UsageError, match="Ray chooses"):
        EngineConfig(engine="ray", replica_gpus=0.5).check("cuda:1")
    EngineConfig(engine="ray", replica_gpus=0.5).check("auto")
    with pytest.raises(UsageError, match="--replica-gpus above 0"):
        EngineConfig(engine="ray").check("cuda")
    with pytest.raises(UsageError, match="--device cpu"):
        EngineConfig(engine="ray", replica_gpus=1.0).check("cpu")


@pytest.mark.parametrize("mesh_format", ["obj", "ply"])
def test_poses_need_a_format_that_has_them(mesh_format: str) -> None:
    with pytest.raises(ValueError, match=f"which {mesh_format} has not: use --format glb or --meshes surfaces"):
        PublishConfig(format=mesh_format, meshes="none")  # type: ignore[arg-type]
    assert PublishConfig(format=mesh_format, meshes="surfaces")  # type: ignore[arg-type]
    assert PublishConfig(meshes="none").format == "glb"
