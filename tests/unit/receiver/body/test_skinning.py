from pathlib import Path

import numpy as np
import torch
import trimesh

from common.body.model import BodyModel, BodyParameters
from common.body.rotations import axis_angle_to_matrix
from receiver.body.skinning import BodySkin
from receiver.mesh.mesh_files import to_y_up
from receiver.mesh.mesh_reading import read_mesh
from receiver.mesh.skinned_glb import encode_body
from receiver.mesh.triangle_mesh import is_watertight
from receiver.publish.output_files import publish_file
from tests.support.meshes.glb_reader import Glb
from tests.support.meshes.posed_templates import pose, templates


def test_encoded_body_model_is_watertight_and_keeps_its_pose(tmp_path: Path) -> None:
    model, generator = BodyModel.load(), torch.Generator().manual_seed(0)
    rotations = axis_angle_to_matrix(0.4 * torch.randn(2, 22, 3, generator=generator))
    translation = torch.tensor([[0.0, 0.0, 3.0], [0.5, 0.2, 4.0]])
    skin = BodySkin.from_model(model)
    with torch.no_grad():
        output = templates(skin, BodyParameters(rotations, torch.full((2, 4), 0.3), torch.zeros(2, 10), translation))
    colours = np.linspace(0.0, 1.0, 3 * (int(model.vertex_region.max()) + 1), dtype=np.float32).reshape(-1, 3)
    body = pose(skin, output, 1, colours)
    content = encode_body(body, skin.skeleton)
    publish_file(tmp_path / "000000.body.glb", content)
    read = read_mesh(tmp_path / "000000.body.glb")
    assert is_watertight(read.faces, len(read.vertices))
    np.testing.assert_allclose(read.vertices, body.mesh.vertices, atol=1e-5)
    np.testing.assert_allclose(Glb(content).skinned_vertices(), to_y_up(body.mesh.vertices), atol=2e-4)
    checked = trimesh.Trimesh(read.vertices, read.faces, process=False)
    assert checked.body_count == 1 and checked.volume > 0.0
    assert 0.4 < np.ptp(read.vertices, axis=0).max() < 2.6


def test_displacements_follow_the_bones() -> None:
    model = BodyModel.load()
    skin, turned = BodySkin.from_model(model), BodyParameters.rest(1)
    turned.rotations[:, 0] = axis_angle_to_matrix(torch.tensor([[0.0, 0.0, torch.pi / 2]]))
    worn = [skin.span.clothes(torch.tensor([0.02, 0.0, 0.0]).expand(len(skin.template), 3))]
    with torch.no_grad():
        moved = templates(skin, turned, worn).vertices - templates(skin, turned).vertices
    torch.testing.assert_close(moved, torch.tensor([0.0, 0.02, 0.0]).expand_as(moved), rtol=0, atol=1e-4)
