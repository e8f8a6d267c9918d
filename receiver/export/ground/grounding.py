"""Puts people on the ground: one world of metres, y up, the floor at 0, in which feet that stand do not slide.

Where nobody is seen to stand, the camera is taken to be level, and the floor is where the lowest points of bodies
usually are: of somebody whose legs no camera sees, the soles of the pose that was generated for them.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from common.arrays import Float64Array, FloatArray
from receiver.export.character import Character, Motion, Placement, continuous
from receiver.export.ground.legs import placed_legs
from receiver.export.ground.solver import Ground, Solution, solve
from receiver.export.ground.walker import Walker
from receiver.mesh.posing import joint_transforms

# What the neck's mean place over the ankles says of the vertical is 5° wrong, and most cameras are nearly level.
_UPRIGHT = 0.5
# Of the lowest points of people's soles, whose lower third jitter lowers.
_LOW = 35
_ROUNDS = 3
# Shorter than this, all points of soles together, people have not been seen to stand.
_LEAST_S = 0.6
# Of a person whose lowest points are looked at.
_FRAMES = 100


def grounded(characters: Sequence[Character]) -> tuple[list[Character], Placement]:
    """Characters on their common ground, and where the camera is."""
    walkers = {index: walker for index, one in enumerate(characters) if (walker := Walker.from_character(one))}
    people = list(walkers.values())
    solution = _solved(people) if people else None
    placement = _placement(_level_ground(characters) if solution is None else solution.ground)
    moved = [
        dataclasses.replace(one, motion=_moved(one.motion, one.motion.root_positions, placement)) for one in characters
    ]
    if solution is None:
        return moved, placement
    for person, (index, walker) in enumerate(walkers.items()):
        on_floor = dataclasses.replace(
            walker,
            motion=_moved(walker.motion, solution.roots[person], placement),
            orientations=placement.rotation @ walker.orientations,
            positions=walker.positions @ placement.rotation.T,
        )
        roots = on_floor.motion.root_positions.astype(np.float64)
        places = {
            stance: placement.rotation @ place + placement.position
            for (owner, stance), place in solution.places.items()
            if owner == person
        }
        motion = dataclasses.replace(on_floor.motion, rotations=placed_legs(on_floor, roots, places))
        moved[index] = dataclasses.replace(characters[index], motion=motion)
    return moved, placement


def in_place(character: Character) -> Character:
    """The character without the horizontal path of its root."""
    root_positions = character.motion.root_positions * np.array([0, 1, 0], np.float32)
    return dataclasses.replace(character, motion=dataclasses.replace(character.motion, root_positions=root_positions))


def _solved(walkers: Sequence[Walker]) -> Solution | None:
    """Roots, stances and ground; None if nobody stands."""
    upright = np.median(np.concatenate([walker.upright for walker in walkers]), axis=0)
    up = _UPRIGHT * upright / np.linalg.norm(upright) + (1 - _UPRIGHT) * np.array([0.0, 1.0, 0.0])
    up /= np.linalg.norm(up)
    measured = [walker.motion.root_positions.astype(np.float64) for walker in walkers]
    solution = solve(walkers, [[] for _ in walkers], Solution(Ground(up, 0.0), measured), up)
    lowest = [
        ((roots[:, None] + walker.points) @ up).min(axis=1)
        for walker, roots in zip(walkers, solution.roots, strict=True)
    ]
    solution.ground = Ground(up, float(np.percentile(np.concatenate(lowest), _LOW)))
    for _ in range(_ROUNDS):
        ground = solution.ground
        stances = [
            walker.stances(roots, ground.up, ground.level_m)
            for walker, roots in zip(walkers, solution.roots, strict=True)
        ]
        standing_s = sum(
            (stance.last - stance.first) / walker.motion.frame_rate
            for walker, own in zip(walkers, stances, strict=True)
            for stance in own
        )
        if standing_s < _LEAST_S:
            return None
        solution = solve(walkers, stances, solution, up)
    return solution


def _level_ground(characters: Sequence[Character]) -> Ground:
    """The ground of people of whom nobody is seen to stand."""
    return Ground(np.array([0.0, 1.0, 0.0]), float(np.median(np.concatenate([_lowest_m(one) for one in characters]))))


def _lowest_m(character: Character) -> Float64Array:
    """Heights of the body's lowest points in some of its frames."""
    skeleton, motion, offsets = character.skeleton, character.motion, character.offsets
    frames = np.unique(np.linspace(0, len(motion) - 1, _FRAMES).astype(np.intp))
    orientations, positions = joint_transforms(motion.rotations[frames], skeleton.parents.tolist(), offsets)
    joints, weights = skeleton.vertex_joints, skeleton.vertex_weights
    around = character.mesh.vertices[:, None] - character.rest_positions[joints]
    lowest_m = [
        (weights * (position[joints, 1] + (orientation[joints, 1] * around).sum(axis=2))).sum(axis=1).min()
        for orientation, position in zip(orientations, positions, strict=True)
    ]
    return np.asarray(lowest_m + motion.root_positions[frames, 1])


def _placement(ground: Ground) -> Placement:
    rotation, _ = Rotation.align_vectors([[0.0, 1.0, 0.0]], [ground.up])
    return Placement(np.asarray(rotation.as_matrix()), -ground.level_m)


def _moved(motion: Motion, roots: FloatArray | Float64Array, placement: Placement) -> Motion:
    """The motion in the world, with other roots (N, 3)."""
    rotations = motion.rotations.copy()
    turned = Rotation.from_matrix(placement.rotation) * Rotation.from_quat(rotations[:, 0])
    rotations[:, 0] = turned.as_quat().astype(np.float32)
    return dataclasses.replace(motion, rotations=continuous(rotations), root_positions=placement.placed(roots))
