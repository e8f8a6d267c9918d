"""Draws perception's output over the frame: masks, keypoints, boxes and depth.

Positions are in pixels of the drawn image, from its upper left corner; the first pixel is from 0 to 1.
"""

import colorsys
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from common.arrays import BoolArray, FloatArray, Image
from common.body.anatomy import COCO_BONES
from sender.perception.inference.refine_boxes import bounding_box
from sender.perception.stage import ObservedPerson

Colour = tuple[int, int, int]

LONGEST_SIDE_PX = 1280

LEFT, RIGHT, MIDDLE = (92, 190, 255), (255, 158, 74), (236, 236, 236)
DEPTH_RANGE_M = 0.4
"""The depth colours cover this distance in front of the pelvis and behind it."""

TINT_OPACITY = 0.45

_DARK, _LIGHT = (26, 27, 31), (240, 240, 240)
# Sum of a colour's channels, 0…765, from which text on it is dark.
_BRIGHT_SUM = 384
_INVISIBLE_OPACITY = 0.4
# Side of a depth tile over the image's height, and largest width of all tiles over the image's.
_TILE_HEIGHT_SHARE, _TILES_WIDTH_SHARE = 0.2, 0.5
# Smaller people are drawn with thin lines.
_SMALL_PERSON_PX = 180
_SUBPIXEL_BITS = 4


def draw_preview(image: Image, people: Sequence[ObservedPerson]) -> Image:
    """The frame (H, W, 3) RGB with perception's output, its longer side scaled down to `LONGEST_SIDE_PX` at most.

    Args:
        people: most prominent first; depth is shown of as many as fit.
    """
    canvas = _scaled_down(image)
    if not people:
        _write(canvas, "no person", (_margin(canvas), _margin(canvas)), _DARK)
        return canvas
    # Both sides are rounded, so that their scales differ slightly.
    scale = np.divide(canvas.shape[1::-1], image.shape[1::-1], dtype=np.float32)
    back_to_front = people[::-1]
    for person in back_to_front:
        corners = person.crop.to_pixels(np.array([[0, 0], [1, 0], [0, 1]], dtype=np.float32))
        tint_mask(canvas, person.output.mask_logits[0].numpy(), corners * scale, identity_colour(person.identity))
    draw_skeletons(
        canvas,
        [person.crop.to_pixels(person.output.keypoints_2d[0].numpy()) * scale for person in back_to_front],
        [person.output.visible_logit[0].numpy() > 0 for person in back_to_front],
    )
    for person in back_to_front:
        box = bounding_box(person.output, person.crop).reshape(2, 2)
        draw_box(canvas, box * scale, f"#{person.identity}  {person.score:.2f}", identity_colour(person.identity))
    draw_depths(canvas, people)
    return canvas


def identity_colour(identity: int) -> Colour:
    """A colour for each of the 256 identities; successive hues are the golden ratio of a turn apart."""
    red, green, blue = colorsys.hsv_to_rgb((0.42 + 0.618034 * identity) % 1.0, 0.55, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)


def tint_mask(canvas: Image, logits_HW: FloatArray, corners: FloatArray, colour: Colour) -> None:
    """Tints the pixels of a person, in place: by half at the mask's outline, and none with a logit below −2.

    Args:
        corners: (3, 2) upper left, upper right and lower left corner of the crop that the logits cover, which may be
            rolled and outside the image.
    """
    height, width = canvas.shape[:2]
    across, down = corners[1] - corners[0], corners[2] - corners[0]
    ends = np.stack([corners[0], corners[1], corners[2], corners[0] + across + down])
    x0, y0 = np.clip(np.rint(ends.min(axis=0)), 0, [width, height]).astype(int).tolist()
    x1, y1 = np.clip(np.rint(ends.max(axis=0)), 0, [width, height]).astype(int).tolist()
    if x0 >= x1 or y0 >= y1:
        return
    rows, columns = logits_HW.shape
    to_units = np.linalg.inv(np.stack([across, down], axis=1).astype(np.float64))
    to_logits = np.array([[columns], [rows]]) * to_units
    shift = to_logits @ (np.array([x0, y0]) + 0.5 - corners[0]) - 0.5
    canvas_to_logits_23 = np.concatenate([to_logits, shift[:, None]], axis=1)
    method = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    logits = cv2.warpAffine(
        logits_HW, canvas_to_logits_23, (x1 - x0, y1 - y0), flags=method, borderMode=cv2.BORDER_REPLICATE
    )
    region = canvas[y0:y1, x0:x1]
    region[:] = _blended(region, np.full_like(region, colour), TINT_OPACITY * _soft_mask(logits))


def draw_skeletons(canvas: Image, keypoints_2d: Sequence[FloatArray], visible: Sequence[BoolArray]) -> None:
    """Draws keypoints and the bones between them, in place; invisible ones are semi-transparent.

    Args:
        keypoints_2d: (17, 2) of each person, from back to front.
        visible: (17,) of each person; a bone is visible if both its ends are.
    """
    overlay = canvas.copy()
    for points, shown in zip(keypoints_2d, visible, strict=True):
        _draw_keypoints(overlay, points, shown, visible_ones=False)
    cv2.addWeighted(overlay, _INVISIBLE_OPACITY, canvas, 1 - _INVISIBLE_OPACITY, 0, dst=canvas)
    for points, shown in zip(keypoints_2d, visible, strict=True):
        _draw_keypoints(canvas, points, shown, visible_ones=True)


def _draw_keypoints(canvas: Image, points: FloatArray, visible: BoolArray, *, visible_ones: bool) -> None:
    """Draws the visible bones and keypoints of one person, or the invisible ones."""
    # OpenCV's origin is the centre of the first pixel.
    positions = [(int(x), int(y)) for x, y in np.round((points - 0.5) * 2**_SUBPIXEL_BITS)]
    bones = [(a, b, _side_colour(a, b)) for a, b in COCO_BONES if (visible[a] and visible[b]) == visible_ones]
    thickness = 2 if np.ptp(points, axis=0).max() > _SMALL_PERSON_PX else 1
    # A dark outline first, so that lines contrast with the tint and with bright images.
    for a, b, _ in bones:
        cv2.line(canvas, positions[a], positions[b], _DARK, 2 * thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
    for a, b, colour in bones:
        cv2.line(canvas, positions[a], positions[b], colour, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
    radius, outline = (round((1.2 * thickness + size) * 2**_SUBPIXEL_BITS) for size in (1.0, 1.8))
    for index in np.flatnonzero(visible == visible_ones).tolist():
        cv2.circle(canvas, positions[index], outline, _DARK, -1, cv2.LINE_AA, _SUBPIXEL_BITS)
        cv2.circle(canvas, positions[index], radius, _side_colour(index, index), -1, cv2.LINE_AA, _SUBPIXEL_BITS)


def _side_colour(a: int, b: int) -> Colour:
    """The colour of a bone between two COCO keypoints: odd indices are on the left, even ones except 0 on the right."""
    if a % 2 == 1 and b % 2 == 1:
        return LEFT
    return RIGHT if a % 2 == 0 < a and b % 2 == 0 < b else MIDDLE


def draw_box(canvas: Image, box: FloatArray, text: str, colour: Colour) -> None:
    """Draws a person's box, (2, 2) upper left and lower right corner, with a label on it, in place."""
    (left, top), (right, bottom) = np.round(box).astype(int).tolist()
    cv2.rectangle(canvas, (left, top), (right - 1, bottom - 1), colour, 1, cv2.LINE_AA)
    _write(canvas, text, (left, top - _text_height(canvas)), colour)


def draw_depths(canvas: Image, people: Sequence[ObservedPerson]) -> None:
    """Puts tiles with each person's depth into the lower right corner, in place, with a colour key below them."""
    height, width = canvas.shape[:2]
    margin, side = _margin(canvas), max(1, round(_TILE_HEIGHT_SHARE * height))
    bottom, right = height - 2 * margin - _text_height(canvas), width - margin
    for person in people[: max(1, int(_TILES_WIDTH_SHARE * width) // (side + margin))]:
        tile = depth_tile(person, side)
        cv2.rectangle(tile, (0, 0), (side - 1, side - 1), identity_colour(person.identity), 1)
        _paste(canvas, tile, (right - side, bottom - side))
        right -= side + margin
    _paste(canvas, depth_key(side, _text_height(canvas)), (width - margin - side, bottom + margin // 2))


def depth_tile(person: ObservedPerson, side: int) -> Image:
    """(side, side, 3): a person's depth over the crop, brighter where nearer; the background is dark grey."""
    depth_m = cv2.resize(person.output.depth[0].numpy(), (side, side), interpolation=cv2.INTER_LINEAR)
    logits = cv2.resize(person.output.mask_logits[0].numpy(), (side, side), interpolation=cv2.INTER_LINEAR)
    colours = _depth_colours(np.clip(127.5 - 127.5 / DEPTH_RANGE_M * depth_m, 0, 255).astype(np.uint8))
    return _blended(np.full_like(colours, _DARK), colours, _soft_mask(logits))


def depth_key(width: int, height: int) -> Image:
    """(height, width, 3): the key of the depth colours, from near to far."""
    ramp = np.broadcast_to(np.linspace(255, 0, width, dtype=np.uint8), (height, width))
    key = _depth_colours(ramp)
    scale = min(height / 34, 0.3 * width / _text_width("near", 1.0))
    baseline, inset = round(height / 2 + 10 * scale), round(8 * scale)
    _put_text(key, "near", (inset, baseline), scale, _DARK)
    _put_text(key, "far", (width - inset - _text_width("far", scale), baseline), scale, _LIGHT)
    return key


def _scaled_down(image: Image) -> Image:
    """A copy with the longer side at most `LONGEST_SIDE_PX`."""
    height, width = image.shape[:2]
    shrink = LONGEST_SIDE_PX / max(height, width)
    if shrink >= 1:
        return image.copy()
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _soft_mask(logits: npt.NDArray[Any]) -> FloatArray:
    """Opacity of the person at each pixel, 0…1: a ramp from logit −2 to 2."""
    return np.clip(0.25 * logits + 0.5, 0, 1).astype(np.float32)


def _depth_colours(nearness: Image) -> Image:
    """(H, W) from 0, far, to 255, near → (H, W, 3) RGB."""
    return np.asarray(cv2.cvtColor(cv2.applyColorMap(nearness, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB), np.uint8)


def _blended(below: Image, above: Image, share_HW: FloatArray) -> Image:
    return np.asarray(cv2.blendLinear(below, above, 1 - share_HW, share_HW), dtype=np.uint8)


def _paste(canvas: Image, tile: Image, corner: tuple[int, int]) -> None:
    """Puts a tile with its upper left corner at (x, y), in place, clipped to the canvas."""
    (x, y), (height, width) = corner, tile.shape[:2]
    left, top = max(0, -x), max(0, -y)
    region = canvas[y + top : max(0, y + height), x + left : max(0, x + width)]
    region[:] = tile[top : top + region.shape[0], left : left + region.shape[1]]


def _write(canvas: Image, text: str, corner: tuple[int, int], colour: Colour) -> None:
    """Writes text on a coloured box with its upper left corner at (x, y), moved into the canvas, in place."""
    scale, height = _text_scale(canvas), _text_height(canvas)
    box = np.full((height, _text_width(text, scale) + height // 2, 3), colour, dtype=np.uint8)
    ink = _DARK if sum(colour) > _BRIGHT_SUM else _LIGHT
    _put_text(box, text, (height // 4, round(0.72 * height)), scale, ink)
    x, y = (
        max(0, min(position, size - side))
        for position, size, side in zip(corner, canvas.shape[1::-1], box.shape[1::-1], strict=True)
    )
    _paste(canvas, box, (x, y))


def _put_text(canvas: Image, text: str, baseline: tuple[int, int], scale: float, colour: Colour) -> None:
    cv2.putText(canvas, text, baseline, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)


def _text_width(text: str, scale: float) -> int:
    return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0])


def _text_scale(canvas: Image) -> float:
    return float(np.clip(max(canvas.shape) / 2400, 0.4, 0.55))


def _text_height(canvas: Image) -> int:
    return round(36 * _text_scale(canvas))


def _margin(canvas: Image) -> int:
    return int(max(canvas.shape)) // 100
