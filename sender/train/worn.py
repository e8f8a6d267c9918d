"""People whose kinds of hair and clothes are known, and views of them.

The photographs are those of `photographs.dataset`: of the source `people`, judged by eye in its `wears.tsv`;
others of `people` and those of `openimages` were judged by a vision-language model that was shown them as contact
sheets, in `data`.  The pictures that are held back there are never trained on.  One pass of perception gives
keypoints, mask and features, which are kept; rendered people have the true ones.

Batches of views to learn from what people wear: cut from crops of which everything else may change.

Photographs are few.  Beside light, blur and errors of the keypoints, their framing, colours and scenery are changed,
and patches cover them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import cv2
import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from common.arrays import Box, ByteArray, FloatArray, Image
from common.body.anatomy import MIRRORED_KEYPOINTS, REGIONS
from common.synthetic.render_shards import CropDataset
from common.tensor_rows import TensorRows
from common.wear_kinds import VALUES
from common.wears import UNKNOWN, possible
from sender.attributes.kinds import PARTS_PX, PHOTOGRAPH, KindViews, limb_colours, part_pictures, part_transforms
from sender.perception.crop import CropBox
from sender.perception.perception_network import FEATURE_SIZE, PerceptionOutput
from sender.perception.predictor import Perception
from sender.train.photographs.crops import linear_part, warped
from sender.train.photographs.dataset import Source, corners, held_out, read_image, read_json, read_table

WornSplit = Literal["train", "test"]
"""`test` are the pictures that `sender.train.photographs.dataset` holds back."""
_OPENIMAGES = Path(__file__).parent / "data" / "openimages_wears.tsv"
# People whom the `wears.tsv` of `people` leaves out: smaller ones, or with few keypoints.
_PEOPLE = Path(__file__).parent / "data" / "people_wears.tsv"
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


# Standard deviation of the keypoints' errors: of all together, of their scale, and of each, in crop units.
_SHIFT, _SCALE, _EACH = 0.012, 0.06, 0.007
_ERASED_SHARE, _FEATURES_SHARE = 0.05, 0.6
# Standard deviation of a photograph's turn, radians, of its place, crop units, and of the logarithms of its size and
# of its proportions.
_TURN, _PLACE, _SIZE, _PROPORTIONS = 0.07, 0.035, 0.07, 0.05
# Share of the photographs whose hue and saturation change, which are noisy, and whose scenery is blurred or gone.
_TINTED, _NOISY, _BLURRED, _BARE = 0.35, 0.2, 0.085, 0.09
_PATCHES = 0.56


@dataclass(frozen=True, slots=True)
class WornBatch:
    """Views, their sources (B,) as `sender.attributes.kinds.SOURCES`, and (B, L) 1 where a value is possible."""

    views: KindViews
    source: Tensor
    possible: Tensor


def batch_of(rows: Sequence[tuple[WornPeople, int, int]], rng: Generator | None = None) -> WornBatch:
    """Views of people (data, row, source); with `rng` changed at random."""
    parts, colours, features, kinds = [], [], [], []
    for people, row, source in rows:
        picture, mask, keypoints = (column[row].numpy() for column in (people.picture, people.mask, people.keypoints))
        places = keypoints[:, :2]
        feature = people.features[row].float()
        if rng is not None:
            if source == PHOTOGRAPH:
                picture, mask, places = restaged(rng, picture, mask, places)
            picture, mask, places = changed(rng, picture, mask, places)
            feature = feature if rng.random() < _FEATURES_SHARE else feature * torch.nan
        cut = part_pictures(picture, mask, part_transforms(places))
        if rng is not None:
            cut[rng.random(len(cut)) < _ERASED_SHARE] = 0
        parts.append(cut)
        colours.append(limb_colours(picture, mask, places))
        features.append(feature)
        kinds.append(people.kinds[row])
    pictures = torch.from_numpy(np.stack(parts)).float() / 255
    views = KindViews(pictures, torch.from_numpy(np.stack(colours)), torch.stack(features))
    return WornBatch(views, torch.tensor([source for *_, source in rows]), bits(torch.stack(kinds)))


def restaged(
    rng: Generator, picture: Image, mask: ByteArray, places: FloatArray
) -> tuple[Image, ByteArray, FloatArray]:
    """A photograph in another framing, colour and scenery, with patches over it."""
    picture, mask, places = reframed(rng, picture, mask, places)
    if rng.random() < _TINTED:
        picture = tinted(rng, picture)
    if rng.random() < _NOISY:
        noise = rng.normal(0, rng.uniform(2, 14), picture.shape)
        picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
    picture = before_other_scenery(rng, picture, mask)
    size = len(picture)
    for _ in range(rng.poisson(_PATCHES)):
        (left, top), (right, bottom) = _patch(rng, size)
        picture[top:bottom, left:right] = rng.integers(0, 256, 3)
    return picture, mask, places


def reframed(
    rng: Generator, picture: Image, mask: ByteArray, places: FloatArray
) -> tuple[Image, ByteArray, FloatArray]:
    """The whole crop turned, moved, and of another size and other proportions."""
    turn, size, ratio = rng.normal(0, _TURN), np.exp(rng.normal(0, _SIZE)), np.exp(rng.normal(0, _PROPORTIONS))
    linear = linear_part(size, ratio, turn, mirrored=False)
    shift = 0.5 + rng.normal(0, _PLACE, 2) - linear @ [0.5, 0.5]
    picture, mask = (
        warped(image, np.column_stack([linear, len(image) * shift]), len(image), border=0) for image in (picture, mask)
    )
    return picture, mask, np.asarray(places @ linear.T + shift, np.float32)


def tinted(rng: Generator, picture: Image) -> Image:
    """The picture in other hues, and more or less colourful."""
    channels = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV).astype(np.int16)
    channels[..., 0] = (channels[..., 0] + int(rng.normal(0, 7))) % 180
    channels[..., 1] = np.clip(channels[..., 1] * np.exp(rng.normal(0, 0.2)), 0, 255)
    return np.asarray(cv2.cvtColor(channels.astype(np.uint8), cv2.COLOR_HSV2RGB), np.uint8)


def before_other_scenery(rng: Generator, picture: Image, mask: ByteArray) -> Image:
    """A copy whose scenery may be blurred or of one colour, so that it tells less about the clothes."""
    drawn = rng.random()
    if drawn >= _BLURRED + _BARE:
        return picture.copy()
    size = len(picture)
    share = cv2.resize(mask, (size, size)).astype(np.float32)[..., None] / 255
    other = np.full_like(picture, rng.integers(0, 256, 3))
    if drawn < _BLURRED:
        other = np.asarray(cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(3, 12))), np.uint8)
    return np.asarray(share * picture + (1 - share) * other, np.uint8)


def changed(rng: Generator, picture: Image, mask: ByteArray, places: FloatArray) -> tuple[Image, ByteArray, FloatArray]:
    """A mirrored picture, in other light, blurred or compressed, with errors of the keypoints."""
    if rng.random() < 0.5:
        picture, mask = np.ascontiguousarray(picture[:, ::-1]), np.ascontiguousarray(mask[:, ::-1])
        places = (np.array([1, 0]) + np.array([-1, 1]) * places)[MIRRORED_KEYPOINTS]
    picture = relit(rng, picture)
    if rng.random() < 0.35:
        size, small = len(picture), int(len(picture) * rng.uniform(0.25, 0.8))
        reduced = cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA)
        picture = np.asarray(cv2.resize(reduced, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)
    if rng.random() < 0.2:
        coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 60))])[1]
        picture = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    centre = places.mean(axis=0)
    moved = centre + (places - centre) * np.exp(rng.normal(0, _SCALE))
    noise = rng.normal(0, _SHIFT, 2) + rng.normal(0, _EACH, places.shape)
    return picture, mask, np.asarray(moved + noise, np.float32)


def relit(rng: Generator, picture: Image) -> Image:
    """The picture with another gain, gamma and contrast of each channel, or without colour."""
    levels = np.arange(256) / 255
    gamma, gain = np.exp(rng.normal(0, 0.25)), np.exp(rng.normal(0, 0.12, 3) + rng.normal(0, 0.15))
    table = np.clip(255 * gain * levels[:, None] ** gamma, 0, 255).astype(np.uint8)[:, None]
    picture = np.asarray(cv2.LUT(picture, np.ascontiguousarray(table.transpose(1, 0, 2))), np.uint8)
    if rng.random() < 0.1:
        picture = np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    return picture


def bits(kinds_NA: Tensor) -> Tensor:
    """(N, L) 1 where a value of the attributes is possible, of (N, A) bits."""
    columns = [
        (kinds_NA[:, row, None].int() >> torch.arange(len(values))) & 1 for row, values in enumerate(VALUES.values())
    ]
    return torch.cat(columns, dim=1).float()


def _patch(rng: Generator, size: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Left, top and right, bottom of a rectangle, pixels."""
    extent, centre = rng.uniform(0.03, 0.2, 2) * size, rng.uniform(0, size, 2)
    low, high = np.maximum(centre - extent / 2, 0).astype(int), (centre + extent / 2).astype(int)
    return (int(low[0]), int(low[1])), (int(high[0]), int(high[1]))
