"""Packets of people who move: rendered clips through perception, semantics and codec, as on a link that is never full.

From them `receiver.train.motion` learns which errors labels have.  Each clip is four seconds of a motion, seen from a
random side; some are left out because perception loses the person.

Examples:
  python -m sender.train.perceived_motion --windows windows30 --count 170 --out perceived/train.npz
  python -m sender.train.perceived_motion --windows windows30 --split val --count 42 --out perceived/val.npz
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from common.arrays import FloatArray, Image
from common.body.label_space import LabelSpace
from common.body.model import BodyModel
from common.codec.bit_allocation import load as rate_distortion
from common.codec.frame_codec import MODEL_HASH_SIZE, FrameCodec
from common.frames import Camera, LabelFrame
from common.io.command_line import parser_of
from common.synthetic.assets.body_canvas import Canvas
from common.synthetic.dataset.split import SPLITS, Split, identity_rows
from common.synthetic.motion.motion_table import Clip
from common.synthetic.motion.windows import MotionWindows, open_windows
from common.synthetic.render_clip import FOCAL_PX, FPS, HEIGHT, WIDTH, PlacedMotion, draw, place_motion, turned
from common.synthetic.renderer.renderer import Renderer
from common.synthetic.scene.degradations import add_sensor_noise
from sender.importance.importance import Importance
from sender.perception.config import TrackingConfig
from sender.perception.stage import PerceptionStage
from sender.semantics.config import SmoothingConfig
from sender.semantics.stage import SemanticsStage

_FRAMES, _STRIDE = 4 * FPS, FPS // 2
_CAMERA = Camera(WIDTH, HEIGHT, FOCAL_PX)
# Frames under way before the first is acknowledged.
_LAG = 2


class MovingPeople:
    """Draws clips of a split.

    Raises:
        RendererUnavailable: OpenGL is missing.
    """

    def __init__(self, windows: MotionWindows, split: Split) -> None:
        self._windows, self._model = windows, BodyModel.load()
        self._starts, self._clips = windows.starts(split, _FRAMES, _STRIDE)
        self._rows = identity_rows(split, len(self._model.shape_table))
        self._renderer = Renderer(Canvas.from_model(self._model))

    def clip(self, rng: np.random.Generator) -> tuple[PlacedMotion, Iterator[Image]]:
        """A person's motion before the camera, and the frames; all motions are as likely, however long."""
        motion = rng.choice(np.unique(self._clips))
        rows = slice(start := int(rng.choice(self._starts[self._clips == motion])), start + _FRAMES)
        vectors, root = (np.array(column[rows]) for column in (self._windows.rotations, self._windows.root))
        moving = turned(Clip(self._windows.names[motion], vectors, root, FPS), float(rng.uniform(0, 2 * np.pi)))
        placed = place_motion(self._model, moving, int(rng.choice(self._rows)))
        drawn = draw(self._renderer, placed, int(rng.integers(1 << 31)))
        noisy = (add_sensor_noise(rng, np.asarray(picture, np.float32)) for picture, _ in drawn)
        return placed, (np.clip(picture, 0, 255).astype(np.uint8) for picture in noisy)


class Sender:
    """Perception, semantics and codec in process. Raises WeightsError: weights are missing or of another version."""

    def __init__(self) -> None:
        self._perception = PerceptionStage.load(TrackingConfig(max_people=1))
        self._semantics = SemanticsStage.load(SmoothingConfig())
        self._importance, self._rates = Importance.load(), rate_distortion()

    def packets(self, frames: Iterator[Image]) -> list[bytes]:
        """One for each frame until the person is lost."""
        self._perception.reset()
        self._semantics.reset()
        codec, packets = FrameCodec(bytes(MODEL_HASH_SIZE)), list[bytes]()
        for number, image in enumerate(frames):
            observed = self._perception.process(image, _CAMERA, number / FPS)
            people = self._semantics.label(observed, _CAMERA, number / FPS)
            if not people:
                break
            codec.acknowledge(number - _LAG)
            frame = LabelFrame(number, "rendered", number / FPS, _CAMERA, people[:1])
            finest = self._rates.finest(self._importance.uncertainty_mm(people[0]))
            rho = self._rates.allocate(self._rates.bounds_bits[1], self._importance.shifts(people[0]), finest)
            packets.append(codec.encode(frame, rho).payload)
        return packets


def main() -> None:
    parser = parser_of("python -m sender.train.perceived_motion", __doc__)
    parser.add_argument("--windows", type=Path, required=True, help="folder of windows of motion, 30 frames a second")
    parser.add_argument("--split", choices=SPLITS, default="train", help="of motions and people (default: %(default)s)")
    parser.add_argument("--count", type=int, default=170, help="clips to render (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=77, help="(default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="file to write, .npz")
    options = parser.parse_args()
    people, sender, space = MovingPeople(open_windows(options.windows, FPS), options.split), Sender(), LabelSpace.load()
    packets, truth = list[list[bytes]](), list[FloatArray]()
    for number in range(options.count):
        placed, frames = people.clip(np.random.default_rng([options.seed, number]))
        if len(sent := sender.packets(frames)) == _FRAMES:
            packets.append(sent)
            truth.append(space.encode(placed.parameters).numpy())
        print(f"{number + 1} of {options.count} clips, {len(truth)} whole", flush=True)
    sizes = [[len(packet) for packet in clip] for clip in packets]
    joined = np.frombuffer(b"".join(packet for clip in packets for packet in clip), np.uint8)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(options.out, packets=joined, sizes=sizes, truth=np.stack(truth))


if __name__ == "__main__":
    main()
