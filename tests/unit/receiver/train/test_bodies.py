from pathlib import Path

import pytest
import torch

from common.body.model import BodyModel, BodyParameters
from common.errors import SourceError
from receiver.train.bodies import BodyTable, oriented_points, pack, sample_people, template_order, unpack, write_shard


def test_packing_is_accurate_to_a_tenth_of_a_millimetre() -> None:
    generator = torch.Generator().manual_seed(0)
    # 16 bits of 0.1 mm reach 3.2 m, more than any body.
    places = 3.2 * (2 * torch.rand(2, 8, 3, generator=generator) - 1)
    normals = torch.nn.functional.normalize(torch.randn(2, 8, 3, generator=generator), dim=-1)
    cloud = torch.cat([places, normals], dim=-1)
    difference = (unpack(*pack(cloud)) - cloud).abs()
    assert difference[..., :3].max() < 1e-4 and difference[..., 3:].max() < 0.005


def test_table_reads_shards_up_to_the_limit(tmp_path: Path) -> None:
    cloud = torch.randn(4, 2048, 6).clamp(-1, 1)
    for number in range(2):
        write_shard(tmp_path / f"train-{number:010d}", torch.full((4, 104), float(number)), cloud)
    table = BodyTable.read(tmp_path, "train", 512, limit=6)
    labels, places = table.batch(slice(None))
    assert labels[:, 0].tolist() == [0, 0, 0, 0, 1, 1]
    torch.testing.assert_close(places[0, 0], cloud[0, :4].mean(0), rtol=0, atol=0.01)


def test_missing_shards_are_reported(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"receiver\.train\.bodies"):
        BodyTable.read(tmp_path, "test", 512)


def test_points_in_the_root_frame_do_not_depend_on_the_translation() -> None:
    body = BodyModel.load()
    order = template_order(body)
    near, far = BodyParameters.rest(1, distance_m=2.0), BodyParameters.rest(1, distance_m=5.0)
    torch.testing.assert_close(oriented_points(body, near, order), oriented_points(body, far, order))
    assert oriented_points(body, near, order).shape == (1, 2048, 6)


def test_same_seed_gives_the_same_people() -> None:
    first, second = (sample_people("val", 10_000_000, 8) for _ in range(2))
    assert torch.equal(first.rotations, second.rotations) and torch.equal(first.shape, second.shape)
    assert first.shape.std() > 0.5
