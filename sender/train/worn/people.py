"""People whose kinds of hair and clothes are known, in photographs and rendered.

The photographs are those of `photographs.dataset`: of the source `people`, judged by eye in its `wears.tsv`;
others of `people` and those of `openimages` were judged by a vision-language model that was shown them as contact
sheets, in `data`.  The pictures that are held back there are never trained on.  One pass of perception gives
keypoints, mask and features, which are kept; rendered people have the true ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import cv2
import numpy as np
import torch
from torch import Tensor

from common.arrays import Box, ByteArray, Image
from common.body.anatomy import REGIONS
from common.synthetic.render_shards import CropDataset
from common.tensor_rows import TensorRows
from common.wear_kinds import VALUES
from common.wears import UNKNOWN, possible
from sender.attributes.kind_evidence import PARTS_PX
from sender.perception.crop import CropBox
from sender.perception.output import FEATURE_SIZE, PerceptionOutput
from sender.perception.predictor import Perception
from sender.train.photographs.dataset import Source, corners, held_out, read_image, read_json, read_table

WornSplit = Literal["train", "test"]
"""`test` are the pictures that `sender.train.photographs.dataset` holds back."""
_OPENIMAGES = Path(__file__).parents[1] / "data" / "openimages_wears.tsv"
# People whom the `wears.tsv` of `people` leaves out: smaller ones, or with few keypoints.
_PEOPLE = Path(__file__).parents[1] / "data" / "people_wears.tsv"
# Pictures of Open Images are stretched to a square: width and height by the proportions that perception is surer of.
_UNSTRETCHED = {"4:3": (480, 360), "3:4": (360, 480)}
_BATCH = 16


@dataclass(frozen=True, slots=True)
class JudgedPerson:
    """A person in a photograph, and what was judged.

    Args:
        box: (4,) left, top, right, bottom, pixels.
        kinds: (A,) possible values as bits (`common.wears.possible`).
    """

    box: Box
    kinds: ByteArray


@dataclass(frozen=True, slots=True)
class WornPeople(TensorRows):
    """N people as perception sees them.

    Args:
        picture: (N, S, S, 3) uint8 crops.
        mask: (N, H, H) uint8 probability of the person, in 1/255.
        keypoints: (N, 17, 3) in crop units, and the probability that each is visible.
        features: (N, X) half precision, NaN where perception has not seen the picture.
        kinds: (N, A) uint8 possible values as bits.
    """

    picture: Tensor
    mask: Tensor
    keypoints: Tensor
    features: Tensor
    kinds: Tensor

    @classmethod
    def from_output(cls, pictures: Sequence[Image], output: PerceptionOutput, kinds: ByteArray) -> Self:
        mask = (255 * output.mask_logits.float().sigmoid()).round().byte()
        keypoints = torch.cat([output.keypoints_2d, output.visible_logit.sigmoid()[..., None]], dim=-1)
        features = output.features().half()
        picture, known = torch.from_numpy(np.stack(pictures)), torch.from_numpy(kinds)
        return cls(picture, mask, keypoints.float(), features, known)


def judged_people(directory: Path, split: WornSplit) -> dict[str, list[JudgedPerson]]:
    """The judged people of one split, by photograph.

    Raises:
        SourceError: `wears.tsv` or the annotations are missing or damaged.
    """
    document = read_json(directory / "keypoints.json")
    names = {entry["id"]: entry["file_name"] for entry in document["images"]}
    annotations = {entry["id"]: entry for entry in document["annotations"]}
    held_back = held_out(list(names.values()))
    found: dict[str, list[JudgedPerson]] = {}
    more = read_table(_PEOPLE) if split == "train" else ()
    for row in (*read_table(directory / "wears.tsv"), *more):
        annotation = annotations[int(row["annotation_id"])]
        name = names[annotation["image_id"]]
        if (name in held_back) == (split == "test"):
            found.setdefault(name, []).append(
                JudgedPerson(corners(np.array(annotation["bbox"], np.float32)), _kinds(row))
            )
    return found


def judged_openimages(directory: Path, split: WornSplit) -> dict[tuple[str, str], list[JudgedPerson]]:
    """The same of the source `openimages`, by photograph and its proportions, in which boxes are pixels."""
    boxes = read_json(directory / "boxes.json")
    held_back = held_out(list(boxes))
    found: dict[tuple[str, str], list[JudgedPerson]] = {}
    for row in read_table(_OPENIMAGES):
        name, proportions = row["photograph"], row["proportions"]
        if (name in held_back) == (split == "test"):
            stretch = np.tile(np.array(_UNSTRETCHED[proportions], np.float32), 2)
            box = corners(np.array(boxes[name][int(row["box"])], np.float32)) * stretch
            found.setdefault((name, proportions), []).append(JudgedPerson(box, _kinds(row)))
    return found


def observed(source: Source, directory: Path, split: WornSplit, perception: Perception) -> WornPeople:
    """One pass of perception over the annotated boxes of the judged people of a source.

    Raises:
        SourceError: a judged picture, the boxes or judgements are missing or damaged.
    """
    if source == "people":
        photographs = judged_people(directory, split)
        images = ((read_image(directory / "images" / name), people) for name, people in photographs.items())
    else:
        stretched = judged_openimages(directory, split)
        images = (
            (_resized(read_image(directory / f"{name}.jpg"), _UNSTRETCHED[proportions]), people)
            for (name, proportions), people in stretched.items()
        )
    parts = []
    for image, people in images:
        crops = [CropBox.around(person.box) for person in people]
        output = perception.observe([crop.cut(image, perception.size) for crop in crops])
        pictures = [crop.cut(image, PARTS_PX) for crop in crops]
        parts.append(WornPeople.from_output(pictures, output, np.stack([person.kinds for person in people])))
    return WornPeople.concatenate(parts)


def _resized(image: Image, size: tuple[int, int]) -> Image:
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def rendered_people(directories: Sequence[Path]) -> WornPeople:
    """Rendered crops with their true keypoints and masks, without features; what cannot be seen is unknown."""
    names = ("image", "kinds", "visible", "keypoints_2d", "mask", "part")
    parts = []
    for truth in CropDataset(directories, "train").batches(_BATCH, names):
        kinds = hidden_unknown(np.asarray(truth["kinds"], np.uint8), np.asarray(truth["part"], np.uint8))
        visible = np.asarray(truth["visible"], np.float32)[..., None]
        keypoints = np.concatenate([np.asarray(truth["keypoints_2d"], np.float32), visible], axis=-1)
        mask = np.ascontiguousarray(np.asarray(truth["mask"], np.uint8)[:, ::3, ::3])
        features = torch.full((len(kinds), FEATURE_SIZE), torch.nan, dtype=torch.float16)
        image, known = torch.from_numpy(np.asarray(truth["image"], np.uint8)), torch.from_numpy(kinds)
        parts.append(WornPeople(image, torch.from_numpy(mask), torch.from_numpy(keypoints), features, known))
    return WornPeople.concatenate(parts)


# The regions of the body of which one has to be visible to judge an attribute, by the start of their names.
_SEEN_ON = {
    "hair": ("face", "scalp"),
    "headwear": ("face", "scalp"),
    "sleeve": ("upper_arm", "forearm"),
    "layer": ("chest",),
    "bottom": ("thigh", "shin"),
    "top_fit": ("chest",),
    "bottom_fit": ("thigh", "shin"),
    "shoes": ("foot",),
}
# Share of the crop's cells that such regions cover at least.
_LEAST_SEEN = 0.0012


def hidden_unknown(kinds_BA: ByteArray, part_BHH: ByteArray) -> ByteArray:
    """The kinds (B, A), with all values possible where the regions that show the attribute are hidden."""
    everything = possible({name: [UNKNOWN] for name in VALUES})
    out = kinds_BA.copy()
    for row, name in enumerate(VALUES):
        regions = [1 + index for index, region in enumerate(REGIONS) if region.startswith(_SEEN_ON[name])]
        seen = np.isin(part_BHH, regions).mean(axis=(1, 2)) >= _LEAST_SEEN
        out[~seen, row] = everything[row]
    return out


def _kinds(row: Mapping[str, str]) -> ByteArray:
    return possible({attribute: [row.get(attribute, UNKNOWN)] for attribute in VALUES})
