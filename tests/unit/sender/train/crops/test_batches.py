"""Augmentation changes ground truth and image alike."""

import pytest
import torch

from common.body.model import BodyModel, BodyParameters, KeypointKinematics, axis_angle_to_matrix
from sender.train.crops import CropBatch, mirror, occlude_rectangles, with_negatives


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel.load()


def random_crops(body: BodyModel, count: int = 4, seed: int = 0) -> CropBatch:
    """Crops of noise, with the consistent ground truth of random bodies."""
    g = torch.Generator().manual_seed(seed)
    rotations = axis_angle_to_matrix(torch.randn(count, 22, 3, generator=g) * 0.5)
    curl, shape = torch.rand(count, 4, generator=g), torch.randn(count, 10, generator=g)
    translation = torch.tensor([0.2, -0.1, 4.0]) + 0.1 * torch.randn(count, 3, generator=g)
    with torch.no_grad():
        joints, _ = KeypointKinematics(body)(BodyParameters(rotations, curl, shape, translation))
    focal = 2.0
    return CropBatch(
        image=torch.rand(count, 3, 32, 32, generator=g),
        mask=(torch.rand(count, 16, 16, generator=g) > 0.5).float(),
        depth=torch.randn(count, 16, 16, generator=g),
        part=torch.randint(0, 17, (count, 16, 16), generator=g),
        keypoints_2d=joints[..., :2] / joints[..., 2:] * focal + 0.5,
        visible=(torch.rand(count, 17, generator=g) > 0.3).float(),
        joints_3d=joints,
        translation=translation,
        rotations=rotations,
        curl=curl,
        shape=shape,
        extent=translation[:, 2] / focal,
        person=torch.ones(count, dtype=torch.bool),
    )


def test_mirrored_labels_pose_the_mirrored_body(body: BodyModel) -> None:
    mirrored = mirror(random_crops(body))
    parameters = BodyParameters(mirrored.rotations, mirrored.curl, mirrored.shape, mirrored.translation)
    joints, _ = KeypointKinematics(body)(parameters)
    # Anny's mesh is symmetric within a fraction of a millimetre, its keypoint regressor within about two.
    assert (joints - mirrored.joints_3d).norm(dim=-1).mean() < 2e-3


def test_mirrored_keypoints_are_the_projection_of_mirrored_joints(body: BodyModel) -> None:
    mirrored = mirror(random_crops(body))
    focal = mirrored.translation[:, 2] / mirrored.extent
    projected = mirrored.joints_3d[..., :2] / mirrored.joints_3d[..., 2:] * focal[:, None, None] + 0.5
    assert torch.allclose(projected, mirrored.keypoints_2d, atol=1e-5)


def test_mirror_moves_image_and_labels_together(body: BodyModel) -> None:
    crops = random_crops(body)
    mirrored = mirror(crops)
    assert torch.equal(mirrored.image[..., 0], crops.image[..., -1])
    assert torch.equal(mirrored.keypoints_2d[:, 5, 1], crops.keypoints_2d[:, 6, 1])
    assert torch.equal(mirrored.part == 0, (crops.part == 0).flip(-1))
    assert not torch.equal(mirrored.part, crops.part.flip(-1))


def test_occluded_rectangles_have_no_ground_truth(body: BodyModel) -> None:
    crops = random_crops(body, count=64)
    torch.manual_seed(0)
    occluded = occlude_rectangles(crops, share=1.0)
    changed = (occluded.image != crops.image).all(dim=1)[:, ::2, ::2]
    assert changed.any(dim=(1, 2)).all()
    assert (occluded.mask[changed] == 0).all()
    assert (occluded.part[changed] == 0).all()
    assert torch.equal(occluded.mask[~changed], crops.mask[~changed])
    assert (occluded.visible <= crops.visible).all()
    assert occluded.visible.sum() < crops.visible.sum()


def test_mirrored_negative_crops_stay_empty(body: BodyModel) -> None:
    batch = random_crops(body)
    negative = torch.arange(len(batch)) == 0
    crops = with_negatives(batch, negative, torch.zeros_like(batch.image))
    for augmented in (crops, mirror(crops)):
        assert augmented.person.tolist() == (~negative).tolist()
        for name in ("image", "mask", "depth", "part", "visible"):
            assert not getattr(augmented, name)[0].any(), name
        assert ((augmented.keypoints_2d[0] < 0) | (augmented.keypoints_2d[0] > 1)).all()
        assert augmented.mask[1:].any()
