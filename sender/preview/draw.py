"""What perception saw, drawn over the picture that it saw it in: masks, keypoints, depth, boxes.

Places are in pixels of the picture that is drawn, from its upper left corner: the first pixel reaches from 0 to 1.
"""

import colorsys
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from common.arrays import BoolArray, FloatArray, Image
from common.body.anatomy import COCO_BONES
from sender.perception.inference.refine_boxes import person_box
from sender.perception.stage import ObservedPerson

Colour = tuple[int, int, int]

LONGEST_SIDE_PX = 1280

LEFT, RIGHT, MIDDLE = (92, 190, 255), (255, 158, 74), (236, 236, 236)
DEPTH_REACH_M = 0.4
"""Depth is coloured from this far before the pelvis to this far behind it."""

TINT = 0.45
"""How much of a person's colour is in the tint."""

_SHADE, _INK = (26, 27, 31), (240, 240, 240)
_FAINT = 0.4
# A tile's side over the picture's height, and how much of its width all tiles may take.
_TILE, _TILES = 0.2, 0.5
# Below it, thick lines would bury the person.
_SMALL_PERSON_PX = 180
_SUBPIXEL_BITS = 4


def draw_preview(image: Image, people: Sequence[ObservedPerson]) -> Image:
    """The picture (H, W, 3) RGB with what was seen in it, its longer side at most `LONGEST_SIDE_PX`.

    Args:
        people: most prominent first; depth is shown of as many as there is room for.
    """
    picture = _fitted(image)
    if not people:
        _write(picture, "nobody", (_margin(picture), _margin(picture)), _SHADE)
        return picture
    # As both sides are rounded, they do not shrink quite alike.
    scale = np.divide(picture.shape[1::-1], image.shape[1::-1], dtype=np.float32)
    back_to_front = people[::-1]
    for person in back_to_front:
        corners = person.crop.to_pixels(np.array([[0, 0], [1, 1]], dtype=np.float32))
        tint_mask(picture, person.output.mask_logits[0].numpy(), corners * scale, identity_colour(person.identity))
    draw_skeletons(
        picture,
        [person.crop.to_pixels(person.output.keypoints_2d[0].numpy()) * scale for person in back_to_front],
        [person.output.visible_logit[0].numpy() > 0 for person in back_to_front],
    )
    for person in back_to_front:
        box = person_box(person.output, person.crop).reshape(2, 2)
        draw_box(picture, box * scale, f"#{person.identity}  {person.score:.2f}", identity_colour(person.identity))
    draw_depths(picture, people)
    return picture


def identity_colour(identity: int) -> Colour:
    """A colour for each of the 256 identities, neighbours far apart: the hue turns by the golden ratio."""
    red, green, blue = colorsys.hsv_to_rgb((0.42 + 0.618034 * identity) % 1.0, 0.55, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)


def tint_mask(picture: Image, logits_HW: FloatArray, corners: FloatArray, colour: Colour) -> None:
    """Tints the pixels of a person, in place: half on the mask's border, not at all where a logit is below −2.

    Args:
        corners: (2, 2) upper left and lower right corner of the crop that the logits cover; they may lie outside.
    """
    height, width = picture.shape[:2]
    (left, top), (right, bottom) = corners.tolist()
    x0, x1 = max(0, round(left)), min(width, round(right))
    y0, y1 = max(0, round(top)), min(height, round(bottom))
    if x0 >= x1 or y0 >= y1:
        return
    step_x, step_y = logits_HW.shape[1] / (right - left), logits_HW.shape[0] / (bottom - top)
    from_picture = np.array(
        [
            [step_x, 0.0, (x0 + 0.5 - left) * step_x - 0.5],
            [0.0, step_y, (y0 + 0.5 - top) * step_y - 0.5],
        ]
    )
    method = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    logits = cv2.warpAffine(logits_HW, from_picture, (x1 - x0, y1 - y0), flags=method, borderMode=cv2.BORDER_REPLICATE)
    region = picture[y0:y1, x0:x1]
    region[:] = _blended(region, np.full_like(region, colour), TINT * _soft(logits))


def draw_skeletons(picture: Image, keypoints_2d: Sequence[FloatArray], visible: Sequence[BoolArray]) -> None:
    """Draws keypoints and the bones between them, in place; what is not visible faintly.

    Args:
        keypoints_2d: (17, 2) of each person, who is in front last.
        visible: (17,) of each person; a bone is visible if both its ends are.
    """
    faint = picture.copy()
    for points, seen in zip(keypoints_2d, visible, strict=True):
        _draw_part(faint, points, seen, drawn=False)
    cv2.addWeighted(faint, _FAINT, picture, 1 - _FAINT, 0, dst=picture)
    for points, seen in zip(keypoints_2d, visible, strict=True):
        _draw_part(picture, points, seen, drawn=True)


def _draw_part(picture: Image, points: FloatArray, visible: BoolArray, *, drawn: bool) -> None:
    """The bones and keypoints of one person that are visible, or those that are not."""
    # OpenCV counts from the middle of the first pixel.
    places = [(int(x), int(y)) for x, y in np.round((points - 0.5) * 2**_SUBPIXEL_BITS)]
    bones = [(a, b, _side_colour(a, b)) for a, b in COCO_BONES if (visible[a] and visible[b]) == drawn]
    thin = 2 if np.ptp(points, axis=0).max() > _SMALL_PERSON_PX else 1
    # A dark rim first, so that lines stand out from the tint and from a bright picture alike.
    for a, b, _ in bones:
        cv2.line(picture, places[a], places[b], _SHADE, 2 * thin, cv2.LINE_AA, _SUBPIXEL_BITS)
    for a, b, colour in bones:
        cv2.line(picture, places[a], places[b], colour, thin, cv2.LINE_AA, _SUBPIXEL_BITS)
    radius, rim = (round((1.2 * thin + size) * 2**_SUBPIXEL_BITS) for size in (1.0, 1.8))
    for index in np.flatnonzero(visible == drawn).tolist():
        cv2.circle(picture, places[index], rim, _SHADE, -1, cv2.LINE_AA, _SUBPIXEL_BITS)
        cv2.circle(picture, places[index], radius, _side_colour(index, index), -1, cv2.LINE_AA, _SUBPIXEL_BITS)


def _side_colour(a: int, b: int) -> Colour:
    if a % 2 == 1 and b % 2 == 1:
        return LEFT
    return RIGHT if a % 2 == 0 < a and b % 2 == 0 < b else MIDDLE


def draw_box(picture: Image, box: FloatArray, text: str, colour: Colour) -> None:
    """Draws a person's box, (2, 2) upper left and lower right corner, with a label on it, in place."""
    (left, top), (right, bottom) = np.round(box).astype(int).tolist()
    cv2.rectangle(picture, (left, top), (right - 1, bottom - 1), colour, 1, cv2.LINE_AA)
    _write(picture, text, (left, top - _text_height(picture)), colour)


def draw_depths(picture: Image, people: Sequence[ObservedPerson]) -> None:
    """Puts each person's depth in a tile into the lower right corner, in place, the colours' meaning below them."""
    height, width = picture.shape[:2]
    margin, side = _margin(picture), max(1, round(_TILE * height))
    bottom, right = height - 2 * margin - _text_height(picture), width - margin
    for person in people[: max(1, int(_TILES * width) // (side + margin))]:
        tile = depth_tile(person, side)
        cv2.rectangle(tile, (0, 0), (side - 1, side - 1), identity_colour(person.identity), 1)
        _paste(picture, tile, (right - side, bottom - side))
        right -= side + margin
    _paste(picture, depth_key(side, _text_height(picture)), (width - margin - side, bottom + margin // 2))


def depth_tile(person: ObservedPerson, side: int) -> Image:
    """(side, side, 3): the depth of a person over the crop, bright where near, dark grey where nobody is."""
    depth_m = cv2.resize(person.output.depth[0].numpy(), (side, side), interpolation=cv2.INTER_LINEAR)
    logits = cv2.resize(person.output.mask_logits[0].numpy(), (side, side), interpolation=cv2.INTER_LINEAR)
    colours = _depth_colours(np.clip(127.5 - 127.5 / DEPTH_REACH_M * depth_m, 0, 255).astype(np.uint8))
    return _blended(np.full_like(colours, _SHADE), colours, _soft(logits))


def depth_key(width: int, height: int) -> Image:
    """(height, width, 3): what the colours of depth mean, from near to far."""
    ramp = np.broadcast_to(np.linspace(255, 0, width, dtype=np.uint8), (height, width))
    key = _depth_colours(ramp)
    scale = min(height / 34, 0.3 * width / _text_width("near", 1.0))
    baseline, inset = round(height / 2 + 10 * scale), round(8 * scale)
    _put_text(key, "near", (inset, baseline), scale, _SHADE)
    _put_text(key, "far", (width - inset - _text_width("far", scale), baseline), scale, _INK)
    return key


def _fitted(image: Image) -> Image:
    """A copy, made smaller if its longer side is beyond `LONGEST_SIDE_PX`."""
    height, width = image.shape[:2]
    shrink = LONGEST_SIDE_PX / max(height, width)
    if shrink >= 1:
        return image.copy()
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _soft(logits: npt.NDArray[Any]) -> FloatArray:
    """How much of a pixel is the person, 0…1: a ramp that leaves all that is surely background as it is."""
    return np.clip(0.25 * logits + 0.5, 0, 1).astype(np.float32)


def _depth_colours(nearness: Image) -> Image:
    """(H, W) from 0, far, to 255, near → (H, W, 3) RGB."""
    return np.asarray(cv2.cvtColor(cv2.applyColorMap(nearness, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB), np.uint8)


def _blended(below: Image, above: Image, share_HW: FloatArray) -> Image:
    return np.asarray(cv2.blendLinear(below, above, 1 - share_HW, share_HW), dtype=np.uint8)


def _paste(picture: Image, piece: Image, corner: tuple[int, int]) -> None:
    """Puts a piece with its upper left corner at (x, y), in place; what would lie outside is left out."""
    (x, y), (height, width) = corner, piece.shape[:2]
    left, top = max(0, -x), max(0, -y)
    region = picture[y + top : max(0, y + height), x + left : max(0, x + width)]
    region[:] = piece[top : top + region.shape[0], left : left + region.shape[1]]


def _write(picture: Image, text: str, corner: tuple[int, int], colour: Colour) -> None:
    """Writes on a plate of a colour with its upper left corner at (x, y), moved to lie within, in place."""
    scale, height = _text_scale(picture), _text_height(picture)
    plate = np.full((height, _text_width(text, scale) + height // 2, 3), colour, dtype=np.uint8)
    _put_text(plate, text, (height // 4, round(0.72 * height)), scale, _SHADE if sum(colour) > 384 else _INK)
    x, y = (
        max(0, min(place, size - side))
        for place, size, side in zip(corner, picture.shape[1::-1], plate.shape[1::-1], strict=True)
    )
    _paste(picture, plate, (x, y))


def _put_text(picture: Image, text: str, baseline: tuple[int, int], scale: float, colour: Colour) -> None:
    cv2.putText(picture, text, baseline, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)


def _text_width(text: str, scale: float) -> int:
    return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0])


def _text_scale(picture: Image) -> float:
    return float(np.clip(max(picture.shape) / 2400, 0.4, 0.55))


def _text_height(picture: Image) -> int:
    return round(36 * _text_scale(picture))


def _margin(picture: Image) -> int:
    return int(max(picture.shape)) // 100
