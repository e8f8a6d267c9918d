"""Composed frames and the boxes of the people pasted into them."""

from pathlib import Path

import numpy as np

from common.synthetic.dataset import Split
from common.synthetic.render_shards import CropDataset
from common.synthetic.scene.scene import CROP_FIELDS
from sender.train.photographs.composed import FrameComposer, cut_out, paste


def bar_people(directory: Path, size: int, split: Split = "train") -> CropDataset:
    """A data set whose crops show a blue upright bar; all other fields of its shard are empty."""
    shard = directory / f"{split}-0000"
    shard.mkdir(parents=True)
    image, mask = np.zeros((8, size, size, 3), np.uint8), np.zeros((8, size, size), np.uint8)
    where = (slice(None), slice(size // 8, -size // 8), slice(3 * size // 8, -3 * size // 8))
    image[where], mask[where] = (0, 0, 255), 255
    for name in CROP_FIELDS:
        np.save(shard / f"{name}.npy", {"image": image, "mask": mask}.get(name, np.zeros(8)))
    return CropDataset([directory], split)


def test_frames_have_boxes_of_people_of_every_data_set(tmp_path: Path) -> None:
    datasets = [bar_people(tmp_path / "fine", 64), bar_people(tmp_path / "coarse", 32)]
    composer = FrameComposer(datasets, np.random.default_rng(5), 128, backgrounds=4)
    frames = [composer.frame() for _ in range(12)]
    boxes = np.concatenate([boxes for _, boxes in frames])
    assert len(boxes) >= 6
    assert (boxes[:, 2:] > boxes[:, :2]).all() and boxes.min() >= 0 and boxes.max() <= 128
    corners = [(image, box.astype(int)) for image, people in frames for box in people]
    blue = [image[top:bottom, left:right].mean(axis=(0, 1)) for image, (left, top, right, bottom) in corners]
    # Shading, blur and noise change the colours, but in most boxes blue stays the strongest channel.
    assert np.mean([colour.argmax() == 2 for colour in blue]) > 0.6
    again = FrameComposer(datasets, np.random.default_rng(5), 128, backgrounds=4).frame()[0]
    assert np.array_equal(again, frames[0][0]), "the same seed gives the same frame"


def test_cut_out_is_the_box_of_the_mask_with_its_truncated_sides() -> None:
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    mask = np.zeros((64, 64), dtype=np.uint8)
    assert cut_out(image, mask) is None
    mask[30:64, 20:40] = 255
    cut = cut_out(image, mask)
    assert cut is not None and cut.alpha.shape == (34, 20)
    assert np.array_equal(cut.colour, image[30:, 20:40].astype(np.float32))
    assert cut.truncated.tolist() == [False, False, False, True]


def test_paste_marks_the_owner_and_clips_at_the_border() -> None:
    image, owner = np.zeros((32, 32, 3), np.float32), np.full((32, 32), -1, np.int16)
    colour, alpha = np.full((10, 8, 3), 200.0, np.float32), np.ones((10, 8), np.float32)
    outside = image.copy()
    paste(outside, owner, 0, colour, alpha, 80, 0)
    assert outside.sum() == 0 and (owner == -1).all()
    pixels = paste(image, owner, 3, colour, alpha, 28, -4)
    assert pixels == 80
    assert (owner == 3).sum() == 6 * 4
    assert (image[:6, 28:] == 200).all() and image[6:].sum() == 0
