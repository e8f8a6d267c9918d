"""Packets of people who move: rendered clips through perception, semantics and codec, as on a link that is never full.

From them `receiver.train.motion` learns which errors labels have.  Each clip is four seconds of a motion, before a
camera that stands still and whose focal length is known; some are left out because perception loses the person.

Examples:
  python -m sender.train.perceived_motion --windows windows30 --count 170 --out perceived/train.npz
  python -m sender.train.perceived_motion --windows windows30 --split val --count 42 --out perceived/val.npz
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from common.arrays import FloatArray, Image
from common.body.label_space import LabelSpace
from common.codec.frame_codec import MODEL_HASH_SIZE, FrameCodec
from common.codec.tables import load_allocation as rate_distortion
from common.frames import Camera, LabelFrame
from common.io.command_line import parser_of
from common.synthetic.dataset import SPLITS
from common.synthetic.motion.windows import open_windows
from sender.config import SmoothingConfig, TrackingConfig
from sender.importance import Importance
from sender.perception.perception_stage import PerceptionStage
from sender.semantics.semantics_stage import SemanticsStage
from sender.train.lifting.clips import MovingPeople
from sender.train.lifting.motions import FPS

_FRAMES = 4 * FPS
# Frames under way before the first is acknowledged.
_LAG = 2


class Sender:
    """Perception, semantics and codec in process. Raises WeightsError: weights are missing or of another version."""

    def __init__(self) -> None:
        self._perception = PerceptionStage.load(TrackingConfig(max_people=1, quality="full"))
        self._semantics = SemanticsStage.load(SmoothingConfig())
        self._importance, self._rates = Importance.load(), rate_distortion()

    def packets(self, frames: Iterator[Image], camera: Camera) -> list[bytes]:
        """One for each frame until the person is lost."""
        self._perception.reset()
        codec, packets = FrameCodec(bytes(MODEL_HASH_SIZE)), list[bytes]()
        for number, image in enumerate(frames):
            observed = self._perception.process(image, camera, number / FPS)
            people = self._semantics.label(observed, camera, number / FPS)
            if not people:
                break
            codec.acknowledge(number - _LAG)
            frame = LabelFrame(number, "rendered", number / FPS, camera, people[:1])
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
        rng = np.random.default_rng([options.seed, number])
        take = people.take(rng, _FRAMES, still=True)
        if len(sent := sender.packets(people.frames(rng, take), take.camera)) == _FRAMES:
            packets.append(sent)
            truth.append(space.encode(take.body).numpy())
        print(f"{number + 1} of {options.count} clips, {len(truth)} whole", flush=True)
    sizes = [[len(packet) for packet in clip] for clip in packets]
    joined = np.frombuffer(b"".join(packet for clip in packets for packet in clip), np.uint8)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(options.out, packets=joined, sizes=sizes, truth=np.stack(truth))


if __name__ == "__main__":
    main()
