"""Draws perception's output over the frame: masks, keypoints and boxes.

Positions are in pixels of the drawn image, from its upper left corner; the first pixel is from 0 to 1.
"""

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np

from common.arrays import BoolArray, FloatArray, Image
from common.body.anatomy import COCO_BONES
from sender.perception.read import person_box
from sender.perception.track import ObservedPerson

Colour = tuple[int, int, int]

LONGEST_SIDE_PX = 1280

LEFT, RIGHT, MIDDLE = (92, 190, 255), (255, 158, 74), (236, 236, 236)
TINT_OPACITY = 0.45
# Logit from which on nothing is tinted.
_NOBODY = -2.0

_DARK = (26, 27, 31)
# Smaller people are drawn with thin lines.
_SMALL_PERSON_PX = 180
_SUBPIXEL_BITS = 4


def draw_preview(image: Image, people: Sequence[ObservedPerson]) -> Image:
    """The frame (H, W, 3) RGB with perception's output, its longer side scaled down to `LONGEST_SIDE_PX` at most.

    Args:
        people: most prominent first, who are drawn over the others.
    """
    scale = min(LONGEST_SIDE_PX / max(image.shape), 1.0)
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    canvas = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    if not people:
        _write(canvas, "no person", (0, 0), MIDDLE)
    # Both sides are rounded, so that their scales differ slightly.
    scales = np.divide(canvas.shape[1::-1], image.shape[1::-1], dtype=np.float32)
    for person in reversed(people):
        corners = person.crop.to_pixels(np.array([[0, 0], [1, 0], [0, 1]], dtype=np.float32))
        tint_mask(canvas, person.output.mask_logits[0].numpy(), corners * scales, identity_colour(person.identity))
    for person in reversed(people):
        keypoints = person.crop.to_pixels(person.output.keypoints_2d[0].numpy())
        draw_skeleton(canvas, keypoints * scales, person.output.visible_logit[0].numpy() > 0)
        _draw_box(canvas, person, scales)
    return canvas


def _draw_box(canvas: Image, person: ObservedPerson, scales: FloatArray) -> None:
    """Draws a person's box, which is rolled as the crop is, with identity and score."""
    left, top, right, bottom = person_box(person.output, person.crop)
    middle = np.array([left + right, top + bottom], np.float32) / 2
    corners = (np.array([[left, top], [right, top], [right, bottom], [left, bottom]]) - middle) @ person.crop.axes.T
    pixels = np.round((corners + middle) * scales).astype(np.int32)
    colour = identity_colour(person.identity)
    cv2.polylines(canvas, [pixels], True, colour, 1, cv2.LINE_AA)
    x, y = pixels[0].tolist()
    _write(canvas, f"#{person.identity}  {person.score:.2f}", (x, y), colour)


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
    rows, columns = logits_HW.shape
    # OpenCV's origin is the centre of the first pixel.
    crop = np.array([[0, 0], [columns, 0], [0, rows]], np.float32) - np.float32(0.5)
    to_canvas = cv2.getAffineTransform(crop, corners.astype(np.float32) - np.float32(0.5))
    logits = cv2.warpAffine(
        logits_HW, to_canvas, canvas.shape[1::-1], borderMode=cv2.BORDER_CONSTANT, borderValue=_NOBODY
    )
    # A ramp from logit −2 to 2.
    opacity = TINT_OPACITY * np.clip(0.25 * logits + 0.5, 0, 1).astype(np.float32)
    canvas[:] = cv2.blendLinear(canvas, np.full_like(canvas, colour), 1 - opacity, opacity)


def draw_skeleton(canvas: Image, points: FloatArray, visible: BoolArray) -> None:
    """Draws a person's keypoints and the bones between them, in place; invisible ones are thin and dark.

    Args:
        points: (17, 2).
        visible: (17,); a bone is visible if both its ends are.
    """
    # OpenCV's origin is the centre of the first pixel.
    positions = [(int(x), int(y)) for x, y in np.round((points - 0.5) * 2**_SUBPIXEL_BITS)]
    thickness = 2 if np.ptp(points, axis=0).max() > _SMALL_PERSON_PX else 1
    # A line from a keypoint to itself is a dot.
    marks = [(a, b, thickness) for a, b in COCO_BONES]
    marks += [(index, index, 2 * thickness + 2) for index in range(len(points))]
    marks.sort(key=lambda mark: bool(visible[mark[0]] and visible[mark[1]]))
    for outline in (2, 0):
        for a, b, width in marks:
            if visible[a] and visible[b]:
                # Odd keypoints are on the left, even ones but the nose on the right.
                side = LEFT if a % 2 and b % 2 else MIDDLE if a % 2 or b % 2 or not a or not b else RIGHT
                colour = _DARK if outline else side
                cv2.line(canvas, positions[a], positions[b], colour, width + outline, cv2.LINE_AA, _SUBPIXEL_BITS)
            elif not outline:
                cv2.line(canvas, positions[a], positions[b], _DARK, 1, cv2.LINE_AA, _SUBPIXEL_BITS)


def _write(canvas: Image, text: str, corner: tuple[int, int], colour: Colour) -> None:
    """Writes text with its lower left corner at (x, y), moved into the canvas, on a dark outline."""
    scale = float(np.clip(max(canvas.shape) / 2400, 0.4, 0.55))
    at = max(2, corner[0]), max(round(30 * scale), corner[1] - 4)
    for ink, thickness in ((_DARK, 3), (colour, 1)):
        cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, ink, thickness, cv2.LINE_AA)
