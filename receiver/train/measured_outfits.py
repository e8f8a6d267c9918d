"""Outfits of known kinds, measured: what the mixture of outfits and its diffusion are learned from.

z' is measured on outfits of known kinds (`common.synthetic.kinds`): where sleeves, legs, hems and waists end, how far
garments are let out and flare, how wide open fronts are, how voluminous hair is, how high shoes reach and how thick
their soles are; and which shells they are cut from.  Headwear, which the template is not bound to, is left out.

Shapes: n outfits, A = 8 attributes, D = 18 measures, E = 24 entries of `surface`.

Examples:
  python -m receiver.train.measured_outfits --count 20000 --out outfits/train.npz
  python -m receiver.train.measured_outfits --split val --count 1500 --out outfits/val.npz
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch

from common.arrays import ByteArray, FloatArray
from common.body.anatomy import REGION_INDEX
from common.body.surface_space import SurfaceSpace
from common.body.triangles import VertexNormals
from common.errors import UsageError
from common.io.command_line import parser_of
from common.synthetic.assets.appearance import HAIR, SHOES
from common.synthetic.assets.garment import Garment
from common.synthetic.assets.garment_files import Kind
from common.synthetic.clothed.displacement import ClothedTemplate
from common.synthetic.clothed.outfit_sampler import OutfitSampler
from common.synthetic.dataset.split import SEED_RANGES, SPLITS, Split, check_seed
from common.synthetic.kinds.outfits import KindOutfit
from common.wear_kinds import VALUES
from receiver.outfits.mixture import BLOCK_SLICES, BLOCKS, SIZE
from receiver.outfits.shells import Shells

_TRUNK = 0.6
# The front between those heights up the torso says how wide it is open; see `alteration.cut_field`.
_FRONT, _OPENS_AT, _CLOSED_M = (0.15, 0.7), 1.3, 0.004
PARTS = ("top", "bottom", "hair", "shoes")
"""What is cut from a shell."""

Kinds = Mapping[str, frozenset[str]]
"""Attribute → the values that an outfit may be said to have."""
Measures = Mapping[str, float]


@dataclass(frozen=True, eq=False)
class MeasuredOutfit:
    """One outfit.

    Args:
        blocks: block of z' → its measured entries.
        shells: part → the shell that it was cut from.
        entries: (E,) of the label group.
    """

    kinds: Kinds
    blocks: Mapping[str, Measures]
    shells: Mapping[str, str]
    entries: FloatArray


class OutfitMeasurer:
    """Measures z' on outfits of a split.

    Raises:
        RendererUnavailable: OpenGL is missing.
    """

    def __init__(self, split: Split = "train") -> None:
        self._split = split
        self._space = SurfaceSpace.load()
        self._sampler = OutfitSampler(split)
        self._originals = {garment.name: garment for garment in self._sampler.wardrobe.all()}
        self._normals = {
            name: VertexNormals(each.faces, len(each.rest))(each.rest) for name, each in self._originals.items()
        }
        template = self._sampler.displacer.template
        shells = Shells.load()
        self._rest, self._limb, self._shells = template.rest, shells.limb, shells.fields
        self._foot = np.isin(template.region, [REGION_INDEX["foot.L"], REGION_INDEX["foot.R"]])

    def outfits(self, seed: int, count: int) -> Iterator[MeasuredOutfit]:
        """`count` outfits. Raises ValueError if the seed is outside the split's range."""
        rng = np.random.default_rng([check_seed(self._split, seed), 6])
        for _ in range(count):
            outfit = self._sampler.outfit(rng)
            shape = self._sampler.shapes(rng, 1)[0]
            clothed = self._sampler.displacer.displace(outfit, shape)
            entries = self._space.encode(torch.from_numpy(clothed.displacement)[None])[0].numpy()
            yield MeasuredOutfit(outfit.kinds, *self._measured(outfit, shape), entries)

    def _measured(self, outfit: KindOutfit, shape: FloatArray) -> tuple[dict[str, Measures], dict[str, str]]:
        suits = [garment for garment, _ in outfit.garments if garment.kind is Kind.SUIT]
        tops = [each for each in suits if _used(each)[:, 2].max() > _TRUNK]
        rest = [each for each in suits if each not in tops]
        blocks: dict[str, Measures] = {}
        shells: dict[str, str] = {}
        if tops:
            blocks["sleeve"], blocks["top"] = self._top(tops[0], rest[1] if len(rest) > 1 else None)
            shells["top"] = f"suit.{tops[0].name}"
        if rest:
            blocks["bottom"] = self._bottom(rest[0])
            shells["bottom"] = f"suit.{rest[0].name}"
        for garment, _ in outfit.garments:
            if garment.kind in (Kind.HAIR, Kind.SHOES):
                shells[garment.kind.value] = f"{garment.kind.value}.{garment.name}"
        if outfit.kinds["headwear"] == {"none"}:
            shells.setdefault("hair", "hair.cropped")
            blocks["shoes"] = self._shoes(self._displaced(outfit, Kind.SHOES, np.zeros_like(shape)))
            if shells["hair"] in self._shells:
                blocks["hair"] = self._hair(self._displaced(outfit, Kind.HAIR, shape), self._shells[shells["hair"]])
        return blocks, shells

    def _top(self, top: Garment, tails: Garment | None) -> tuple[Measures, Measures]:
        limb = _used(top)
        arm, trunk = limb[:, 0], limb[limb[:, 0] <= 0]
        loose_m, flare_m = self._let_out(top, 0)
        sleeve = {"sleeve_end": max(float(np.quantile(arm, 0.995)), 0.0), "flare_m": flare_m}
        hem, tails_m = float(np.quantile(trunk[:, 2], 0.01)), 0.0
        if tails is not None:
            hem, tails_m = float(np.quantile(_used(tails)[:, 1], 0.99)), self._let_out(tails, 1)[1]
        return sleeve, {"hem": hem, "loose_m": loose_m, "flare_m": tails_m, "opening_m": self._opening(top)}

    def _bottom(self, bottom: Garment) -> Measures:
        limb, (loose_m, flare_m) = _used(bottom), self._let_out(bottom, 1)
        leg_end = max(float(np.quantile(limb[:, 1], 0.99)), 0.0)
        return {
            "leg_end": leg_end,
            "waist": float(np.quantile(limb[:, 2], 0.99)),
            "loose_m": loose_m,
            "flare_m": flare_m,
        }

    def _let_out(self, garment: Garment, limb: int) -> tuple[float, float]:
        """How far a garment is let out, metres, and how much farther at the end of a limb."""
        original, normals = self._originals[garment.name], self._normals[garment.name]
        moved = np.einsum("nd,nd->n", garment.rest[: len(original.rest)] - original.rest, normals)
        along = np.clip(original.limb[:, limb], 0, 2) / 2
        fitted = np.linalg.lstsq(np.stack([np.ones_like(along), along], 1), moved, rcond=None)[0]
        return float(fitted[0]), float(fitted[1])

    def _opening(self, top: Garment) -> float:
        used = np.unique(top.faces)
        limb, place = top.limb[used], top.rest[used]
        front = (place[:, 2] < np.median(place[:, 2])) & (limb[:, 0] <= 0)
        front &= (limb[:, 2] > _FRONT[0]) & (limb[:, 2] < _FRONT[1])
        if not front.any():
            return 0.0
        half_m = float((np.abs(place[front, 0]) / (_OPENS_AT - limb[front, 2])).min())
        return half_m if half_m > _CLOSED_M else 0.0

    def _displaced(self, outfit: KindOutfit, kind: Kind, shape: FloatArray) -> ClothedTemplate:
        """The template in the garments of one kind, and what is painted."""
        worn = tuple(piece for piece in outfit.garments if piece[0].kind is kind)
        return self._sampler.displacer.displace(KindOutfit(outfit.body, worn, outfit.kinds), shape)

    def _hair(self, clothed: ClothedTemplate, shell: FloatArray) -> Measures:
        """How voluminous hair is, in units of the shell."""
        scalp = self._limb[:, 3] > 0
        field = clothed.displacement * (clothed.material == HAIR)[:, None]
        return {"volume": float((field[scalp] * shell[scalp]).sum() / max(float(np.square(shell[scalp]).sum()), 1e-9))}

    def _shoes(self, clothed: ClothedTemplate) -> Measures:
        shod = (clothed.material == SHOES) & (np.linalg.norm(clothed.displacement, axis=1) > _CLOSED_M / 2)
        ground_m = self._rest[self._foot, 1].max()
        sole_m = float((self._rest + clothed.displacement)[self._foot, 1].max() - ground_m)
        leg = self._limb[shod & (self._limb[:, 1] > 0), 1]
        return {"sole_m": max(sole_m, 0.0), "shaft": float(np.quantile(leg, 0.02)) if len(leg) else 2.0}


def _used(garment: Garment) -> FloatArray:
    """(n, 4) limb coordinates of the vertices that cuts have left."""
    return np.asarray(garment.limb[np.unique(garment.faces)], np.float32)


@dataclass(frozen=True, eq=False)
class MeasuredOutfits:
    """A table of outfits.

    Args:
        kinds: (n, A) bit v is set where value v is possible.
        measures: (n, D) z'; NaN where it is not measured.
        shells: (n, 4) names, of `PARTS`; empty for none.
        entries: (n, E) of the label group.
    """

    kinds: ByteArray
    measures: FloatArray
    shells: "np.ndarray[tuple[int, int], np.dtype[np.str_]]"
    entries: FloatArray

    def __len__(self) -> int:
        return len(self.kinds)

    @classmethod
    def collect(cls, outfits: Iterator[MeasuredOutfit]) -> Self:
        """The table of some outfits."""
        rows = list(outfits)
        kinds = [
            [sum(1 << v for v, value in enumerate(VALUES[a]) if value in row.kinds[a]) for a in VALUES] for row in rows
        ]
        measures = np.full((len(rows), SIZE), np.nan, np.float32)
        for number, row in enumerate(rows):
            for block, measured in row.blocks.items():
                measures[number, BLOCK_SLICES[block]] = [measured.get(name, np.nan) for name in BLOCKS[block]]
        shells = np.array([[row.shells.get(part, "") for part in PARTS] for row in rows])
        return cls(np.array(kinds, np.uint8), measures, shells, np.stack([row.entries for row in rows]))

    @classmethod
    def read(cls, path: Path) -> Self:
        """A table that `write` wrote. Raises UsageError if it is missing or another file."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                return cls(**{name: stored[name] for name in ("kinds", "measures", "shells", "entries")})
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(f"{path} is no table of outfits: run python -m receiver.train.measured_outfits") from error

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, kinds=self.kinds, measures=self.measures, shells=self.shells, entries=self.entries)

    def possible(self, row: int) -> Kinds:
        """The values that an outfit may be said to have."""
        return {
            name: frozenset(value for v, value in enumerate(values) if self.kinds[row, a] >> v & 1)
            for a, (name, values) in enumerate(VALUES.items())
        }

    def blocks(self, row: int) -> dict[str, Measures]:
        """Block of z' → what is measured of it, for the blocks that an outfit has."""
        values = {block: self.measures[row, place].tolist() for block, place in BLOCK_SLICES.items()}
        known = {
            block: {name: value for name, value in zip(BLOCKS[block], each, strict=True) if value == value}
            for block, each in values.items()
        }
        return {block: measured for block, measured in known.items() if measured}


def main() -> None:
    parser = parser_of("python -m receiver.train.measured_outfits", __doc__)
    parser.add_argument("--split", choices=SPLITS, default="train", help="of the outfits (default: %(default)s)")
    parser.add_argument("--count", type=int, default=20000, help="outfits to measure (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=71, help="within the split (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="file to write, .npz")
    options = parser.parse_args()
    outfits = OutfitMeasurer(options.split).outfits(SEED_RANGES[options.split].start + options.seed, options.count)
    MeasuredOutfits.collect(outfits).write(options.out)


if __name__ == "__main__":
    main()
