"""Draws crops with their ground truth: keypoints and skeleton, outline of the mask, depth, body parts."""

import cv2
import numpy as np
import numpy.typing as npt

from common.arrays import BoolArray, ByteArray, FloatArray
from common.body.anatomy import COCO_BONES
from common.synthetic.scene.scene import Crops

LEFT, RIGHT, MIDDLE = (70, 200, 255), (255, 120, 60), (120, 255, 120)
"""Colours of the person's left side (blue), right side (orange), and of the nose and bones that join the sides."""


def contact_sheet(crops: Crops, columns: int = 6, tile: int = 256) -> ByteArray:
    """(H, W, 3) RGB: a grid of crops with their ground truth, `tile` pixels wide each."""
    count = len(crops["image"])
    tiles = [draw_truth(crops, index, tile) for index in range(count)]
    blank = np.zeros_like(tiles[0])
    tiles += [blank] * (-count % columns)
    rows = [np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
    return np.vstack(rows)


def draw_truth(crops: Crops, index: int, tile: int) -> ByteArray:
    """(4/3 tile, tile, 3): the crop with skeleton and outline; below it, smaller, the crop itself, depth and parts."""
    image = _enlarge(crops["image"][index], tile)
    drawn = image.copy()
    outline = _outline(crops["mask"][index], tile)
    drawn[outline] = (255, 255, 0)
    draw_skeleton(drawn, np.asarray(crops["keypoints_2d"][index]) * tile, np.asarray(crops["visible"][index]))
    third = tile // 3
    thumbnails = [_enlarge(crops["image"][index], third), depth_picture(crops["depth"][index], third)]
    thumbnails.append(_enlarge(part_picture(crops["part"][index]), tile - 2 * third, third))
    return np.vstack([drawn, np.hstack(thumbnails)])


def draw_skeleton(image: ByteArray, keypoints: FloatArray, visible: ByteArray) -> None:
    """Draws 17 keypoints (pixels) into an image, in place: filled if visible, hollow if hidden."""
    points = [(int(x), int(y)) for x, y in np.clip(keypoints, -4000, 4000)]
    for start, end in COCO_BONES:
        left, right = start % 2 == 1 and end % 2 == 1, start > 0 and start % 2 == 0 and end % 2 == 0
        shade = LEFT if left else RIGHT if right else MIDDLE
        cv2.line(image, points[start], points[end], shade, 1, cv2.LINE_AA)
    for index, point in enumerate(points):
        shade = MIDDLE if index == 0 else LEFT if index % 2 else RIGHT
        cv2.circle(image, point, 3, shade, -1 if visible[index] else 1, cv2.LINE_AA)


def depth_picture(depth: npt.NDArray[np.generic], size: int) -> ByteArray:
    """Grey levels for −0.8…0.8 m relative to the root, near is bright; black outside the mask."""
    values = np.asarray(depth, np.float32)
    grey = np.where(values != 0, 255 * np.clip(0.5 - values / 1.6, 0.1, 1), 0).astype(np.uint8)
    return _enlarge(np.repeat(grey[..., None], 3, 2), size)


def part_picture(part: npt.NDArray[np.generic]) -> ByteArray:
    """Body parts in distinct colours."""
    hue = (np.arange(256) * 67 % 180).astype(np.uint8)
    palette = cv2.cvtColor(np.dstack([hue, np.full(256, 200), np.full(256, 255)]).astype(np.uint8), cv2.COLOR_HSV2RGB)[
        0
    ]
    palette[0] = 0
    return np.asarray(palette[np.asarray(part, np.uint8)], np.uint8)


def _enlarge(image: npt.NDArray[np.generic], width: int, height: int | None = None) -> ByteArray:
    size = (width, height or width)
    return np.asarray(cv2.resize(np.asarray(image, np.uint8), size, interpolation=cv2.INTER_NEAREST), np.uint8)


def _outline(mask: npt.NDArray[np.generic], size: int) -> BoolArray:
    large = _enlarge(mask, size)
    return np.asarray(cv2.morphologyEx(large, cv2.MORPH_GRADIENT, np.ones((2, 2), np.uint8)) > 0)
