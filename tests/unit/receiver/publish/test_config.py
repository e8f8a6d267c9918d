import pytest

from receiver.config import PublishConfig


@pytest.mark.parametrize("mesh_format", ["obj", "ply"])
def test_poses_need_a_format_that_has_them(mesh_format: str) -> None:
    with pytest.raises(ValueError, match=f"which {mesh_format} has not: use --format glb or --meshes surfaces"):
        PublishConfig(format=mesh_format, meshes="none")  # type: ignore[arg-type]
    assert PublishConfig(format=mesh_format, meshes="surfaces")  # type: ignore[arg-type]
    assert PublishConfig(meshes="none").format == "glb"
