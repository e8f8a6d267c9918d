"""Whether surfaces look like true ones: normal maps of four sides, a small classifier, and distances of its features.

Shapes: B people, N vertices, F triangles, S = 64 pixels of a side, D features.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import moderngl
import numpy as np
import torch
from scipy.linalg import sqrtm
from torch import Tensor, nn

from common.arrays import ByteArray, Float64Array, FloatArray, Int32Array
from common.body.triangles import triangle_normals
from common.synthetic.renderer.renderer import create_context, set_uniforms
from common.synthetic.renderer.shaders import TRIANGLE_FRAGMENT, TRIANGLE_VERTEX

SIDE, _FINER = 64, 3
_SIDES = 4
_HALF_M = 1.0
SOURCES = ("true", "made", "mean")
_WIDTHS, _FEATURES = (3, 12, 24, 32), 16
_EPOCHS, _BATCH, _RATE, _DECAY = 40, 32, 2e-3, 5e-2
_JITTER = 2


class SideViews:
    """Renders normals from the front, the back and the sides, without perspective.

    Raises:
        RendererUnavailable: OpenGL is missing.
    """

    def __init__(self) -> None:
        self._context = create_context()
        self._program = self._context.program(vertex_shader=TRIANGLE_VERTEX, fragment_shader=TRIANGLE_FRAGMENT)
        size = (_FINER * SIDE, _FINER * SIDE)
        texture = self._context.texture(size, 1, dtype="u4")
        self._target = self._context.framebuffer([texture], self._context.depth_renderbuffer(size))

    def normals(self, vertices: FloatArray, faces: Int32Array) -> ByteArray:
        """(4, 3, S, S) unit normals in the axes of the view, 128 for none of a component; 128 in the background."""
        centre = (vertices.min(0) + vertices.max(0)) / 2
        unit = triangle_normals(vertices, faces)
        unit = unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
        with self._context:
            buffers = [self._context.buffer(np.ascontiguousarray(each).tobytes()) for each in (vertices, faces)]
            content = [(buffers[0], "3f", "position")]
            mesh = self._context.vertex_array(self._program, content, index_buffer=buffers[1], index_element_size=4)
            self._target.use()
            self._context.enable(moderngl.DEPTH_TEST)
            set_uniforms(self._program, {"centre": centre, "scale": 1 / _HALF_M})
            views = [self._view(mesh, unit, 2 * np.pi * side / _SIDES) for side in range(_SIDES)]
            mesh.release()
            for buffer in buffers:
                buffer.release()
        return np.stack(views)

    def _view(self, mesh: moderngl.VertexArray, unit: FloatArray, yaw: float) -> ByteArray:
        right = np.array([np.cos(yaw), 0, np.sin(yaw)], np.float32)
        down, forward = np.array([0, 1, 0], np.float32), np.array([-np.sin(yaw), 0, np.cos(yaw)], np.float32)
        turn = np.stack([right, down, forward])
        self._target.clear()
        set_uniforms(self._program, {"rotation": turn.T})
        mesh.render()
        pixels = np.frombuffer(self._target.read(components=1, dtype="u4"), np.uint32)
        seen = np.concatenate([np.zeros((1, 3), np.float32), unit @ turn.T])[pixels // 2]
        coarse = seen.reshape(SIDE, _FINER, SIDE, _FINER, 3).mean((1, 3)).transpose(2, 0, 1)
        return np.asarray(np.rint(127.5 + 127 * coarse).clip(0, 255), np.uint8)


class Judge(nn.Module):
    """Tells true surfaces, made ones and those in mean clothes apart."""

    def __init__(self) -> None:
        super().__init__()
        stages = [
            (nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU()) for before, after in pairwise(_WIDTHS)
        ]
        self.view = nn.Sequential(*(layer for stage in stages for layer in stage))
        self.features = nn.Sequential(nn.Linear(_SIDES * 2 * _WIDTHS[-1], _FEATURES), nn.ReLU())
        self.source = nn.Linear(_FEATURES, len(SOURCES))

    def describe(self, maps: Tensor) -> Tensor:
        """(B, 4, 3, S, S) → features (B, D)."""
        seen: Tensor = self.view(maps.flatten(0, 1))
        pooled = torch.cat([seen.mean((2, 3)), seen.amax((2, 3))], dim=1).unflatten(0, (-1, _SIDES))
        described: Tensor = self.features(pooled.flatten(1))
        return described

    def forward(self, maps: Tensor) -> Tensor:
        """(B, 3) logits of the sources."""
        logits: Tensor = self.source(self.describe(maps))
        return logits


@dataclass(frozen=True, eq=False)
class Looks:
    """How judges take surfaces of people whom they have not seen.

    Args:
        right: source but true → (B,) for each person, of its surface and the true one, the share told rightly from the
            other.
        frechet: source but true → Fréchet distance of the features from those of the true ones, mean of the judges.
    """

    right: Mapping[str, FloatArray]
    frechet: Mapping[str, float]


def judged(maps: Mapping[str, ByteArray], seed: int = 0) -> Looks:
    """Trains a judge on one half of the people and asks it about the other, both ways.

    Args:
        maps: source → (B, 4, 3, S, S) normal maps of the same people.
    """
    half = len(maps["true"]) // 2
    halves = slice(0, half), slice(half, 2 * half)
    asked = []
    for learnt, other in (halves, halves[::-1]):
        judge = _trained({name: each[learnt] for name, each in maps.items()}, seed)
        asked.append(_asked(judge, {name: each[other] for name, each in maps.items()}))
    names = SOURCES[1:]
    return Looks(
        {name: np.concatenate([each.right[name] for each in asked]) for name in names},
        {name: float(np.mean([each.frechet[name] for each in asked])) for name in names},
    )


@torch.inference_mode()
def _asked(judge: Judge, maps: Mapping[str, ByteArray]) -> Looks:
    described = {name: judge.describe(_tensor(maps[name])) for name in SOURCES}
    logits = {name: judge.source(each) for name, each in described.items()}
    right, distance = {}, {}
    for row, name in enumerate(SOURCES[1:], start=1):
        true, other = (logits[each][:, row] - logits[each][:, 0] for each in ("true", name))
        right[name] = (((true < 0).float() + (other >= 0).float()) / 2).numpy()
        distance[name] = frechet(described[name].numpy(), described["true"].numpy())
    return Looks(right, distance)


def _trained(maps: Mapping[str, ByteArray], seed: int) -> Judge:
    torch.manual_seed(seed)
    seen = _tensor(np.concatenate([maps[name] for name in SOURCES]))
    target = torch.arange(len(SOURCES)).repeat_interleave(len(maps["true"]))
    judge = Judge()
    optimiser = torch.optim.AdamW(judge.parameters(), lr=_RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, _EPOCHS)
    for _ in range(_EPOCHS):
        for rows in torch.randperm(len(seen)).split(_BATCH):
            shift = torch.randint(-_JITTER, _JITTER + 1, (2,)).tolist()
            loss = nn.functional.cross_entropy(judge(seen[rows].roll(shift, (-2, -1))), target[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        schedule.step()
    return judge.eval()


def _tensor(maps: ByteArray) -> Tensor:
    return torch.from_numpy(maps).float() / 127.5 - 1


def frechet(first: FloatArray | Float64Array, second: FloatArray | Float64Array) -> float:
    """Fréchet distance of Gaussians fitted to features (B, D) and (B', D) (Heusel et al. 2017)."""
    means = [each.mean(0) for each in (first, second)]
    spreads = [np.cov(each, rowvar=False) + 1e-6 * np.eye(each.shape[1]) for each in (first, second)]
    shared = np.real(np.asarray(sqrtm(spreads[0] @ spreads[1])))
    return float(np.square(means[0] - means[1]).sum() + np.trace(spreads[0] + spreads[1] - 2 * shared))
