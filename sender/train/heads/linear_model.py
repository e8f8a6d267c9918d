"""What heads, build, actions and errors do to the landmarks of a face, as a linear and normal model.

    rendered heads         z = c + x X + s A + a E + ε,  ε ~ N(0, C)   ridge regression
    photographed people    z − a E = m + x X + η,  x ~ N(0, S),  η ~ N(0, R)   expectation maximisation

Shapes: N faces, K components z, A axes of heads; 10 entries of `shape`, 52 actions.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import lsq_linear

from common.arrays import BoolArray, Float64Array, FloatArray, IntArray
from sender.face.head import HeadReading
from sender.train.heads.space import HeadSpace

# Least squares are regularised by so many heads for a unit of an axis, of shape, of an action, and of the constant.
_RIDGE = (3.0, 1.0, 1.0, 1e-6)
# Of actions in photographs: standard deviation, and rounds of finding them and the faces at rest in turn.
_ACTING, _ROUNDS = 0.15, 3
# Standard deviation of people along an axis, as far as so many people do not say another one; likewise for errors.
_AXIS, _AXIS_PEOPLE, _ERROR_PEOPLE, _STEPS = 0.35, 120.0, 30.0, 30
_LEAST_ERROR = 0.05
# Variance in whitened components that no face tells at least, and share of a look's that is the same in all looks.
_LEAST_STEADY, _SHARED = 0.02, 0.2


@dataclass(frozen=True, slots=True)
class Effects:
    """What rendered heads show: of axes (A, K), of shape (10, K), of nothing (K,), and C (K, K)."""

    axes: Float64Array
    shape: Float64Array
    constant: Float64Array
    errors: Float64Array


def effects_of(coefficients: FloatArray, shape: FloatArray, activations: FloatArray, z: Float64Array) -> Effects:
    """The regression of components (N, K) on axes (N, A), shape (N, 10) and activations (N, 52)."""
    design = np.hstack([coefficients, shape, activations, np.ones((len(z), 1))])
    sizes = [coefficients.shape[1], shape.shape[1], activations.shape[1], 1]
    effects = np.linalg.solve(design.T @ design + np.diag(np.repeat(_RIDGE, sizes)), design.T @ z)
    axes, of_shape, _, constant = np.split(effects, np.cumsum(sizes[:-1]))
    return Effects(axes, of_shape, constant[0], np.cov((z - design @ effects).T))


def at_rest(z: Float64Array, acting: Float64Array, usual: Float64Array, errors: Float64Array) -> Float64Array:
    """(N, K) components of photographed people less what their actions most probably do.

    Args:
        acting: (52, K) E.
        usual: (52,) root mean square of activations, in proportion to which they are expected.
        errors: (K, K) covariance, at first.
    """
    neutral, rest = z.mean(axis=0), z
    for _ in range(_ROUNDS):
        root = np.linalg.cholesky(np.linalg.inv(errors + 1e-3 * np.eye(len(errors))))
        system = np.concatenate([(acting @ root).T, np.diag(_ACTING / usual)])
        zeros = np.zeros(len(acting))
        found = [lsq_linear(system, np.append((row - neutral) @ root, zeros), (0, 1)).x for row in z]
        rest = z - np.stack(found) @ acting
        neutral, errors = rest.mean(axis=0), np.cov(rest.T)
    return rest


def people_of(rest: Float64Array, axes: Float64Array, errors: Float64Array) -> tuple[Float64Array, Float64Array]:
    """S (A, A) and R (K, K) of people at rest (N, K), for effects of axes (A, K) and errors C of rendered heads."""
    centred, count = rest - rest.mean(axis=0), len(rest)
    usual = _AXIS**2 * np.eye(len(axes))
    least = errors + _LEAST_ERROR * np.mean(np.square(centred)) * count / (count - 1) * np.eye(len(errors))
    spread, remains = usual, least
    for _ in range(_STEPS):
        told = spread @ axes @ np.linalg.inv(axes.T @ spread @ axes + remains)
        mean, unknown = centred @ told.T, spread - told @ axes.T @ spread
        residual = centred - mean @ axes
        spread = (mean.T @ mean + count * unknown + _AXIS_PEOPLE * usual) / (count + _AXIS_PEOPLE)
        scatter = residual.T @ residual + count * axes.T @ unknown @ axes
        remains = (scatter + _ERROR_PEOPLE * least) / (count + _ERROR_PEOPLE)
    return spread, remains


def errors_of_looks(rest: Float64Array, who: IntArray, frontal: BoolArray) -> Float64Array:
    """(K, K) covariance of one look around the mean of all of somebody's, for faces at rest (N, K) of people (N,)."""
    scatter, freedom = np.zeros((rest.shape[1],) * 2), 0
    for person in np.unique(who):
        looks = rest[(who == person) & frontal]
        if len(looks) > 1:
            centred = looks - looks.mean(axis=0)
            scatter, freedom = scatter + centred.T @ centred, freedom + len(looks) - 1
    errors = scatter / max(freedom, 1)
    return np.asarray(errors + 1e-3 * np.linalg.eigvalsh(errors).max() * np.eye(len(errors)))


def reading_of(
    mean: Float64Array, by_shape: Float64Array, space: HeadSpace, remains: Float64Array, looks: Float64Array
) -> HeadReading:
    """The model in components in which errors are independent.

    Args:
        mean: (K,) of people.
        remains: R; what of it is more than the errors of looks is the same in all of them.
        looks: (K, K) covariance of one look.
    """
    white = np.linalg.inv(np.linalg.cholesky(looks)).T
    shares, vectors = np.linalg.eigh(white.T @ (remains - looks) @ white)
    steady = vectors * shares.clip(_LEAST_STEADY) @ vectors.T + white.T @ space.beyond.T @ space.beyond @ white
    shares, vectors = np.linalg.eigh(steady)
    white = white @ vectors
    tables = white, mean @ white, by_shape @ white, space.by_head @ white, shares + _SHARED
    return HeadReading(*(table.astype(np.float32) for table in tables))
