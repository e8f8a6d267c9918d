"""From facial actions to the expressions of avatars, by the names that programs know: VRM's and perfect sync's.

Perfect sync (https://hinzka.hatenablog.com) has an expression for each action of ARKit, whose name begins with a
capital: `JawOpen`.  VRM 0 (https://vrm.dev/en/univrm/blendshape/univrm_blendshape) has vowels, blinks, gaze and moods.
Programs add up what they receive, and trackers of faces send each eye as `Blink_L` and `Blink_R`.  `Blink` is not sent:
an avatar that has all three would close its eyes twice.

Avatars whose eyes are bones look where `LeftEye` and `RightEye` are turned to.
"""

from collections.abc import Mapping

from scipy.spatial.transform import Rotation

from common.arrays import FloatArray
from common.body.anatomy import FACIAL_ACTIONS
from receiver.vmc.humanoid import BonePose

# How far the irises of the body turn at full activation, and where its eyes are in the axes of the head, in Unity's.
_SIDEWAYS_DEG, _UP_DEG, _DOWN_DEG, _EYE_M = 20.0, 10.0, 15.0, (0.030, 0.042, 0.078)

PERFECT_SYNC: tuple[str, ...] = tuple(name[0].upper() + name[1:] for name in FACIAL_ACTIONS)


def expressions(activations: FloatArray) -> Mapping[str, float]:
    """Name → 0…1, of activations (52,) in the order of `FACIAL_ACTIONS`."""
    values = activations.astype(float).tolist()
    return dict(zip(PERFECT_SYNC, values, strict=True)) | _vrm(dict(zip(FACIAL_ACTIONS, values, strict=True)))


def eye_bones(activations: FloatArray) -> Mapping[str, BonePose]:
    """Bone → where it looks, relative to the head, of activations (52,)."""
    actions = dict(zip(FACIAL_ACTIONS, activations.astype(float).tolist(), strict=True))
    bones = {}
    for side, outwards in (("Left", -1.0), ("Right", 1.0)):
        look = {way: actions[f"eyeLook{way}{side}"] for way in ("In", "Out", "Up", "Down")}
        # Unity is left-handed: positive turns are to the person's right, and down.
        right = outwards * _SIDEWAYS_DEG * (look["Out"] - look["In"])
        down = _DOWN_DEG * look["Down"] - _UP_DEG * look["Up"]
        x, y, z, w = Rotation.from_euler("YX", (right, down), degrees=True).as_quat().tolist()
        bones[f"{side}Eye"] = BonePose((outwards * _EYE_M[0], *_EYE_M[1:]), (x, y, z, w))
    return bones


def _vrm(actions: Mapping[str, float]) -> dict[str, float]:
    def mean(*names: str) -> float:
        return sum(actions[name] for name in names) / len(names)

    # Vowels share the opening of the mouth: wide ones, round ones, and the others.
    opened = max(actions["jawOpen"] - actions["mouthClose"], 0.0)
    rounded = max(actions["mouthFunnel"], actions["mouthPucker"])
    wide = min(mean("mouthStretchLeft", "mouthStretchRight"), 1 - rounded)
    return {
        "A": opened * (1 - rounded - wide),
        "I": (1 - opened) * wide,
        "U": (1 - opened) * rounded,
        "E": opened * wide,
        "O": opened * rounded,
        "Blink_L": actions["eyeBlinkLeft"],
        "Blink_R": actions["eyeBlinkRight"],
        "LookUp": mean("eyeLookUpLeft", "eyeLookUpRight"),
        "LookDown": mean("eyeLookDownLeft", "eyeLookDownRight"),
        "LookLeft": mean("eyeLookOutLeft", "eyeLookInRight"),
        "LookRight": mean("eyeLookInLeft", "eyeLookOutRight"),
        "Joy": mean("mouthSmileLeft", "mouthSmileRight"),
        "Angry": mean("browDownLeft", "browDownRight"),
        "Sorrow": mean("mouthFrownLeft", "mouthFrownRight"),
    }
