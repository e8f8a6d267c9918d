"""Draws clips of one synthetic person who moves in a room in front of a camera: motions, people, frames."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from common.arrays import FloatArray, Image
from common.body.model import BodyModel, BodyParameters, axis_angle_to_matrix, matrix_to_axis_angle
from common.synthetic.assets.appearance import Light, sample_appearance
from common.synthetic.motion.poses import Clip, clips
from common.synthetic.renderer import Figure, Renderer, View
from common.synthetic.scene.backgrounds import make_room

WIDTH, HEIGHT, FPS = 640, 480, 30
FOCAL_PX = 1.2 * WIDTH
_CAMERA_HEIGHT_M = 1.05
_MARGIN_PX = 24
_CURL = (0.35, 0.2, 0.35, 0.2)


@dataclass(frozen=True)
class PlacedMotion:
    """A person's motion in camera space.

    Args:
        parameters: T poses.
        vertices: (T, V, 3) metres.
        keypoints: (T, 17, 3) metres.
        floor_y_m: y of the floor, metres.
    """

    parameters: BodyParameters
    vertices: FloatArray
    keypoints: FloatArray
    floor_y_m: float


def choose_clip(name: str, frame_count: int) -> Clip:
    """A clip of the test split with `frame_count` frames; one that is too short is played forwards and backwards."""
    (clip,) = (each for each in clips("test") if each.name == name)
    last = len(clip.rotation_vectors) - 1
    order = last - np.abs(np.arange(frame_count) % (2 * last) - last)
    return replace(clip, rotation_vectors=clip.rotation_vectors[order], root_translation=clip.root_translation[order])


def place_motion(model: BodyModel, clip: Clip, row: int) -> PlacedMotion:
    """Applies the motion to a body of the shape table, at the least distance that keeps it inside the image."""
    count = len(clip.rotation_vectors)
    shape = model.shape_table[row].expand(count, -1)
    rotations = axis_angle_to_matrix(torch.from_numpy(clip.rotation_vectors))
    path = torch.from_numpy(clip.root_translation - clip.root_translation.mean(0) * np.array([1, 0, 1], np.float32))
    parameters = BodyParameters(rotations, torch.tensor([_CURL]).expand(count, -1), shape, path)
    with torch.no_grad():
        vertices = torch.cat([model(parameters[slice(k, k + 8)]).vertices for k in range(0, count, 8)])
    lowest = float(np.percentile(vertices[..., 1].max(1).values.numpy(), 50))
    offset = torch.tensor([0.0, _CAMERA_HEIGHT_M - lowest, _distance_m(vertices.numpy(), _CAMERA_HEIGHT_M - lowest)])
    placed = vertices + offset
    with torch.no_grad():
        keypoints = model.coco_keypoints(placed).numpy()
    return PlacedMotion(replace(parameters, translation=path + offset), placed.numpy(), keypoints, _CAMERA_HEIGHT_M)


def turned(clip: Clip, heading: float, revolutions: float = 0.0) -> Clip:
    """The motion with another heading, and on the spot with a turn about the vertical if `revolutions` is not 0.

    Args:
        clip: T frames.
        heading: of the first frame, radians from facing the camera.
        revolutions: turns until the last frame.
    """
    count = len(clip.rotation_vectors)
    angle = torch.tensor(heading + 2 * np.pi * revolutions * np.arange(count) / count, dtype=torch.float32)
    turn = axis_angle_to_matrix(angle[:, None] * torch.tensor([0.0, 1.0, 0.0]))
    vectors = clip.rotation_vectors.copy()
    vectors[:, 0] = matrix_to_axis_angle(turn @ axis_angle_to_matrix(torch.from_numpy(vectors[:, 0]))).numpy()
    path = np.einsum("tij,tj->ti", turn.numpy(), clip.root_translation)
    if revolutions:
        path[:, [0, 2]] = path[:1, [0, 2]]
    return replace(clip, rotation_vectors=vectors, root_translation=path.astype(np.float32))


def _distance_m(vertices: FloatArray, offset_y_m: float) -> float:
    """The least distance at which all vertices (T, V, 3) are within the image's margins."""
    points = vertices[:, ::11].reshape(-1, 3)
    slope_x, slope_y = (WIDTH / 2 - _MARGIN_PX) / FOCAL_PX, (HEIGHT / 2 - _MARGIN_PX) / FOCAL_PX
    needed = np.maximum(np.abs(points[:, 0]) / slope_x, np.abs(points[:, 1] + offset_y_m) / slope_y) - points[:, 2]
    return float(needed.max())


def draw(renderer: Renderer, motion: PlacedMotion, seed: int) -> Iterator[Image]:
    """Yields pictures (480, 640, 3) RGB."""
    rng = np.random.default_rng(seed)
    room = np.asarray(cv2.GaussianBlur(make_room(rng, WIDTH), (0, 0), 1.2)[WIDTH - HEIGHT :], np.float32)
    appearance = sample_appearance(rng)
    light = Light(
        directions=np.array([[-0.4, -0.75, -0.53], [0.8, -0.3, -0.52], [0, 0, -1]], np.float32),
        colours=np.array([[0.62, 0.6, 0.56], [0.18, 0.19, 0.22], [0.05, 0.05, 0.05]], np.float32),
        sky=np.array([0.46, 0.47, 0.5], np.float32),
        ground=np.array([0.3, 0.28, 0.26], np.float32),
    )
    view = View(2 * WIDTH, 2 * HEIGHT, 2 * FOCAL_PX)
    for frame in range(len(motion.vertices)):
        rendering = renderer.render([Figure(motion.vertices[frame], appearance)], view, light)
        person = cv2.resize(rendering.colour, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.float32)
        background = _with_shadow(room, motion, frame)
        picture = person[..., :3] + (1 - person[..., 3:] / 255) * background
        yield np.asarray(np.clip(picture, 0, 255), np.uint8)


def _with_shadow(room: FloatArray, motion: PlacedMotion, frame: int) -> FloatArray:
    """The room with a soft contact shadow on the floor."""
    x, _, z = motion.parameters.translation[frame].tolist()
    scale = FOCAL_PX / z
    centre = (int(x * scale + WIDTH / 2), int(motion.floor_y_m * scale + HEIGHT / 2))
    shadow = np.zeros((HEIGHT, WIDTH), np.float32)
    cv2.ellipse(shadow, centre, (int(0.33 * scale), int(0.07 * scale)), 0, 0, 360, 0.5, -1)
    return np.asarray(room * (1 - cv2.GaussianBlur(shadow, (0, 0), 7.0))[..., None], np.float32)
