"""Characters of the body model that move as clips of the package do, and as perception would see them."""

from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from common.arrays import Float64Array
from common.body.model import BodyParameters
from common.synthetic.motion.poses import clips
from receiver.export.character import Character, Motion, continuous
from receiver.export.rigging import load_body_skin, rig_one
from receiver.mesh.body_file import parse_body
from receiver.mesh.mesh_files import Y_UP
from receiver.mesh.posing import joint_transforms
from receiver.mesh.skinned_glb import encode_body
from tests.support.meshes.posed_templates import pose, templates
from tests.support.motion.rendered_clip import place_motion

CAMERA_HEIGHT_M = 1.05


def moving_character(clip: str) -> Character:
    """Someone who moves as a clip, at the distance at which an image contains them."""
    model, _ = load_body_skin()
    (found,) = (each for each in clips("test") if each.name == clip)
    return character_of(place_motion(model, found, 0).parameters, found.fps)


def character_of(parameters: BodyParameters, fps: float) -> Character:
    """The character of bodies of one shape in successive frames."""
    model, skin = load_body_skin()
    first = templates(skin, parameters[slice(0, 1)])
    character = rig_one(0, parse_body(encode_body(pose(skin, first, 0), skin.skeleton)), {})
    local = model.local_rotations(parameters).double().numpy() * Y_UP[:, None] * Y_UP
    rotations = Rotation.from_matrix(local.reshape(-1, 3, 3)).as_quat().reshape(*local.shape[:2], 4)
    roots = (parameters.translation.numpy() * Y_UP).astype(np.float32)
    motion = Motion(np.arange(len(roots)) / fps, continuous(rotations.astype(np.float32)), roots)
    return replace(character, motion=motion)


def late(character: Character) -> Character:
    """As filters show it: poses are a frame late, and distances seven."""
    motion, frames = character.motion, np.arange(len(character.motion))
    distance_m = np.linalg.norm(motion.root_positions, axis=1, keepdims=True)
    before = np.maximum(frames - 1, 0)
    roots = (motion.root_positions / distance_m)[before] * distance_m[np.maximum(frames - 7, 0)]
    return replace(character, motion=Motion(motion.times_s, motion.rotations[before], roots, motion.legs_seen))


def perceived(character: Character, seed: int) -> Character:
    """The character with errors of distance and pose such as perception has, and as late as they come."""
    character = late(character)
    random, motion = np.random.default_rng(seed), character.motion
    drift = np.cumsum(random.normal(0, 0.004, len(motion)))
    distance = 1 + drift - drift.mean() + random.normal(0, 0.005, len(motion))
    turns = Rotation.from_rotvec(random.normal(0, 0.02, (motion.rotations[..., 0].size, 3)))
    rotations = (Rotation.from_quat(motion.rotations.reshape(-1, 4)) * turns).as_quat()
    noisy = continuous(rotations.reshape(motion.rotations.shape).astype(np.float32))
    roots = (motion.root_positions * distance[:, None]).astype(np.float32)
    return replace(character, motion=Motion(motion.times_s, noisy, roots))


def ankles(character: Character) -> Float64Array:
    """(N, 2, 3) metres, of the left and the right leg."""
    skeleton, motion = character.skeleton, character.motion
    _, positions = joint_transforms(motion.rotations, skeleton.parents.tolist(), character.offsets)
    joints = [skeleton.names.index(f"foot.{side}") for side in "LR"]
    return np.asarray(positions[:, joints] + motion.root_positions[:, None])
