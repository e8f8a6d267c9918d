from dataclasses import fields

import numpy as np
import pytest
import torch

from common.body.surface_space import SurfaceSpace
from common.labels import LABEL_SIZE, group_slices
from common.synthetic.clothed.outfit_table import OutfitTable
from receiver.decode.network import DecodeNetwork
from receiver.diffusion.stage import DiffusionNetwork
from receiver.train.bodies import BodyTable, pack
from receiver.train.decode import decode_scores, place_error_mm, shuffled_group
from receiver.train.diffusion import fit_basis, token_members
from receiver.train.diffusion_scores import diffusion_scores
from receiver.train.label_dropout import LabelDropoutConfig
from tests.support.outfit_tables import DETAIL_M, outfit_table
from tests.unit.receiver.decode import test_network
from tests.unit.receiver.diffusion import test_condition


def table(places: int, count: int = 3) -> BodyTable:
    generator = torch.Generator().manual_seed(0)
    normals = torch.nn.functional.normalize(torch.randn(count, places, 3, generator=generator), dim=-1)
    cloud = torch.cat([torch.randn(count, places, 3, generator=generator).clamp(-1, 1), normals], dim=-1)
    return BodyTable(torch.randn(count, LABEL_SIZE, generator=generator).numpy(), *pack(cloud))


def decode_network() -> DecodeNetwork:
    torch.manual_seed(0)
    network = DecodeNetwork(test_network.TINY, torch.arange(2048))
    for level in network.decoder.axes():
        torch.nn.init.normal_(level.axes, std=0.02)
    return network.eval()


def test_place_error_is_in_millimetres() -> None:
    truth = torch.zeros(2, 4, 6)
    moved = truth + torch.tensor([0.003, 0.004, 0, 9, 9, 9])
    assert place_error_mm(truth, moved) == pytest.approx(5.0, abs=1e-3)


def test_shuffled_group_is_the_next_persons_and_the_rest_stays() -> None:
    labels = torch.arange(3.0)[:, None].expand(3, LABEL_SIZE)
    shuffled, where = shuffled_group(labels, "head"), group_slices()["head"]
    assert shuffled[:, where.start].tolist() == [2.0, 0.0, 1.0]
    shuffled[:, where] = labels[:, where]
    assert torch.equal(shuffled, labels)


def test_decode_scores_depend_on_what_is_shuffled() -> None:
    scores = decode_scores(decode_network(), table(512), LabelDropoutConfig(), seed=0)
    assert all(value >= 0 for value in scores.values())
    assert scores["s_3_shuffled_left_arm_mm"] != scores["s_3_mm"] != scores["s_3_shuffled_z_mm"]


def test_diffusion_scores_tell_bare_average_and_linear_apart() -> None:
    torch.manual_seed(0)
    outfits, space = outfit_table(32), SurfaceSpace.load()
    members = token_members(
        space.mean.numpy() + np.random.default_rng(0).normal(size=space.mean.shape).astype(np.float32)
    )
    basis = fit_basis(outfits.displacements(range(32)), members, np.zeros(len(members), np.int64))
    network = DiffusionNetwork(test_condition.TINY, basis).eval()
    torch.nn.init.normal_(network.denoiser.readout, std=0.1)
    poses = torch.randn(4, LABEL_SIZE, generator=torch.Generator().manual_seed(0))
    some = OutfitTable(*(getattr(outfits, item.name)[:6] for item in fields(outfits)))
    scores = diffusion_scores(network, space, decode_network(), some, poses)
    assert scores["basis_mm"] < scores["linear_mm"] < scores["average_outfit_mm"] < scores["bare_mm"]
    assert scores["linear_mm"] == pytest.approx(1000 * DETAIL_M * (8 / np.pi) ** 0.5, rel=0.2)
    assert scores["steps_2_mm"] != scores["shuffled_u_m_mm"]
    assert scores["diversity_unknown_mm"] > 0
