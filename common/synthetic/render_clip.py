"""Renders a clip of one person who moves before a fixed camera, with its truth:
`python -m common.synthetic.render_clip --out sender/capture/data/demo.mp4 --seconds 10`.

Beside `NAME.mp4` goes `NAME.truth.npz`: keypoints_2d (T, 17, 2) in pixels, joints_3d (T, 17, 3) in camera space,
metres, rotation_vectors (T, 22, 3), curl (4,), translation (T, 3), shape (10,), focal_px.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import torch

from common.arrays import ByteArray, FloatArray
from common.body.model import BodyModel, BodyParameters
from common.body.rotations import axis_angle_to_matrix
from common.errors import OutputError, UsageError, exit_code_of
from common.synthetic.assets.appearance import Light, sample_appearance
from common.synthetic.assets.body_canvas import Canvas
from common.synthetic.motion.motion_table import Clip, clips
from common.synthetic.renderer.renderer import Figure, Renderer, View
from common.synthetic.scene.backgrounds import make_room
from common.synthetic.scene.scene import identity_rows

WIDTH, HEIGHT, FPS = 640, 480, 30
FOCAL_PX = 1.2 * WIDTH
_CAMERA_HEIGHT_M = 1.05
_MARGIN_PX = 24
_CURL = (0.35, 0.2, 0.35, 0.2)


@dataclass(frozen=True)
class Take:
    """A person's motion before the camera.

    Args:
        parameters: T poses in camera space.
        vertices: (T, V, 3) metres.
        keypoints: (T, 17, 3) metres.
        floor: camera-space y of the floor, metres.
    """

    parameters: BodyParameters
    vertices: FloatArray
    keypoints: FloatArray
    floor: float


def choose_clip(name: str, frame_count: int) -> Clip:
    """A test clip of so many frames; a shorter one is played to and fro.

    Raises:
        UsageError: no such clip in the test split.
    """
    found = {clip.name: clip for clip in clips("test")}
    if name not in found:
        raise UsageError(f"no test clip {name}; there are {', '.join(sorted(found))}")
    clip = found[name]
    last = len(clip.rotation_vectors) - 1
    order = last - np.abs(np.arange(frame_count) % (2 * last) - last)
    return replace(clip, rotation_vectors=clip.rotation_vectors[order], root_translation=clip.root_translation[order])


def stage(model: BodyModel, clip: Clip, row: int) -> Take:
    """Put the motion on a body and the body as near as it stays within the frame."""
    count = len(clip.rotation_vectors)
    shape = model.shape_table[row].expand(count, -1)
    rotations = axis_angle_to_matrix(torch.from_numpy(clip.rotation_vectors))
    path = torch.from_numpy(clip.root_translation - clip.root_translation.mean(0) * np.array([1, 0, 1], np.float32))
    parameters = BodyParameters(rotations, torch.tensor([_CURL]).expand(count, -1), shape, path)
    with torch.no_grad():
        vertices = torch.cat([model(parameters[slice(k, k + 8)]).vertices for k in range(0, count, 8)])
    lowest = float(np.percentile(vertices[..., 1].max(1).values.numpy(), 50))
    offset = torch.tensor([0.0, _CAMERA_HEIGHT_M - lowest, _distance(vertices.numpy(), _CAMERA_HEIGHT_M - lowest)])
    placed = vertices + offset
    with torch.no_grad():
        keypoints = model.coco_keypoints(placed).numpy()
    return Take(replace(parameters, translation=path + offset), placed.numpy(), keypoints, _CAMERA_HEIGHT_M)


def _distance(vertices: FloatArray, lift: float) -> float:
    """The least distance at which all vertices of all frames lie within the margins."""
    points = vertices[:, ::11].reshape(-1, 3)
    reach_x, reach_y = (WIDTH / 2 - _MARGIN_PX) / FOCAL_PX, (HEIGHT / 2 - _MARGIN_PX) / FOCAL_PX
    need = np.maximum(np.abs(points[:, 0]) / reach_x, np.abs(points[:, 1] + lift) / reach_y) - points[:, 2]
    return float(need.max())


def draw(renderer: Renderer, take: Take, seed: int) -> Iterator[ByteArray]:
    """Frames (480, 640, 3) RGB of the person in a room."""
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
    for frame in range(len(take.vertices)):
        rendering = renderer.render([Figure(take.vertices[frame], appearance)], view, light)
        person = cv2.resize(rendering.colour, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.float32)
        below = _with_shadow(room, take, frame)
        picture = person[..., :3] + (1 - person[..., 3:] / 255) * below
        yield np.asarray(np.clip(picture, 0, 255), np.uint8)


def _with_shadow(room: FloatArray, take: Take, frame: int) -> FloatArray:
    """The room with a soft dark spot on the floor under the person."""
    x, _, z = take.parameters.translation[frame].tolist()
    scale = FOCAL_PX / z
    centre = (int(x * scale + WIDTH / 2), int(take.floor * scale + HEIGHT / 2))
    shadow = np.zeros((HEIGHT, WIDTH), np.float32)
    cv2.ellipse(shadow, centre, (int(0.33 * scale), int(0.07 * scale)), 0, 0, 360, 0.5, -1)
    return np.asarray(room * (1 - cv2.GaussianBlur(shadow, (0, 0), 7.0))[..., None], np.float32)


def write_video(path: Path, frames: Iterator[ByteArray]) -> None:
    """H.264 in MP4.

    Raises:
        OutputError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=FPS, options={"crf": "19", "preset": "slow"})
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            stream.time_base = Fraction(1, FPS)
            for picture in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error}; choose another --out") from error


def write_truth(path: Path, take: Take, rotation_vectors: FloatArray) -> None:
    """The truth of a take, per frame."""
    centre = np.array([WIDTH / 2, HEIGHT / 2], np.float32)
    np.savez_compressed(
        path,
        keypoints_2d=(FOCAL_PX * take.keypoints[..., :2] / take.keypoints[..., 2:] + centre).astype(np.float32),
        joints_3d=take.keypoints,
        rotation_vectors=rotation_vectors,
        curl=np.array(_CURL, np.float32),
        translation=take.parameters.translation.numpy(),
        shape=take.parameters.shape[0].numpy(),
        focal_px=np.float32(FOCAL_PX),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        "python -m common.synthetic.render_clip", description="Render a clip of one person."
    )
    parser.add_argument("--out", type=Path, required=True, help="video to write, .mp4")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--motion", default="cmu/002_06", help="a test clip of the motion table")
    parser.add_argument("--seed", type=int, default=5, help="of clothes, identity and room")
    options = parser.parse_args(arguments)
    if not 0 < options.seconds <= 600 or options.seed < 0:
        parser.error("--seconds must lie in 0…600, --seed must not be negative")
    return exit_code_of(parser.prog, lambda: _write(options))


def _write(options: argparse.Namespace) -> None:
    model = BodyModel.load()
    clip = choose_clip(options.motion, max(1, round(options.seconds * FPS)))
    rows = identity_rows("test", len(model.shape_table))
    take = stage(model, clip, int(rows[options.seed % len(rows)]))
    write_video(options.out, draw(Renderer(Canvas.from_model(model)), take, options.seed))
    write_truth(options.out.with_suffix(".truth.npz"), take, clip.rotation_vectors)
    print(f"{len(take.keypoints)} frames in {options.out}")


if __name__ == "__main__":
    raise SystemExit(main())
