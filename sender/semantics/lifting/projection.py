"""Moves bodies so that their keypoints project to where the network says that the keypoints are.

The network gives label entries y₀ with deviations σ (`free`), and places k of keypoints in the window's crop with s.
With independent errors, the most likely y minimises |π(K(y)) − k|²/s² + |y − y₀|²/σ², where π is the window camera's
projection and K the body's keypoints.  Each Gauss-Newton step, as in an iterated Kalman filter, solves for 34 places
instead of 80 entries:

    y ← y₀ + Σ Jᵀ (J Σ Jᵀ + S)⁻¹ (k − π(K(y)) − J (y₀ − y))

Shapes: B people, E = 80 entries, K = 17 keypoints.
"""

from sender.semantics.crop_labels import pelvis_in_crop
from sender.semantics.keypoint_jacobian import KeypointJacobian
from sender.semantics.namespace import Array, namespace, solved

STEPS = 2
"""Of a window: the second one moves by a third of the first."""
_MIN_DEPTH_M = 0.05
# Largest change, standard deviations of an entry over people.
_LARGEST = 1.0


def projected(kinematics: KeypointJacobian, entries: Array, focal: Array) -> Array:
    """(B, K, 2) where keypoints of bodies (B, E) are in the window's crop, 0…1; `focal` (B, 1) in widths of it."""
    points = kinematics.keypoints(entries) + pelvis_in_crop(entries, focal)[:, None]
    return 0.5 + focal[..., None] * points[..., :2] / points[..., 2:].clip(_MIN_DEPTH_M)


def linearised(kinematics: KeypointJacobian, entries: Array, focal: Array) -> tuple[Array, Array]:
    """What `projected` says of entries (B, E), as (B, 2 K), and its derivatives (B, 2 K, E)."""
    from_pelvis, pelvis, by_entries = kinematics.derivatives(entries, focal)
    points = from_pelvis + pelvis[:, None]
    depth = points[..., 2:].clip(_MIN_DEPTH_M)
    along, focal = points[..., :2] / depth, focal[..., None]
    rows = by_entries[..., :2, :] - along[..., None] * by_entries[..., 2:, :]
    rows = (focal / depth)[..., None] * rows
    return (0.5 + focal * along).reshape(len(entries), -1), rows.reshape(len(entries), -1, entries.shape[1])


def corrected(
    entries: Array, free: Array, keypoints: Array, sigma: Array, at: Array, line: tuple[Array, Array], unit: Array
) -> Array:
    """One step: entries (B, E) moved, by what `linearised` says at others, `at` (B, E).

    Args:
        free, keypoints, sigma: as for `moved_to_keypoints`.
        unit: (E, E) the unit matrix.
    """
    places, rows = line
    weighted = rows * (free * free)[:, None]
    noise = namespace(entries).stack((sigma, sigma), 2).reshape(len(entries), -1) ** 2
    normal = weighted @ rows.swapaxes(1, 2) + noise[..., None] * unit[: noise.shape[1], : noise.shape[1]]
    wrong = keypoints.reshape(len(entries), -1) - places
    wrong = wrong[..., None] - rows @ (entries - at)[..., None]
    change = weighted.swapaxes(1, 2) @ solved(normal, wrong)
    return entries + change[..., 0].clip(-_LARGEST, _LARGEST)


def moved_to_keypoints(
    kinematics: KeypointJacobian, entries: Array, free: Array, keypoints: Array, sigma: Array, focal: Array
) -> Array:
    """Entries (B, E) of which the keypoints project to their places; arrays or tensors.

    Args:
        entries, free: (B, E) as predicted, and how far each is moved for the keypoints' sake, as a standard deviation.
        keypoints, sigma: (B, K, 2) and (B, K) places in the window's crop, 0…1, and their standard deviations.
        focal: (B, 1) of the window camera, in widths of its crop.
    """
    moved = entries
    for _ in range(STEPS):
        line = linearised(kinematics, moved, focal)
        moved = corrected(entries, free, keypoints, sigma, moved, line, kinematics.unit_entries)
    return moved
