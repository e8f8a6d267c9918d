"""Packs MakeHuman garments into the wardrobe file of the package.

The source has `clothes/*/*.mhclo`, `hair/*/*.mhclo` and the OBJ files beside them.  In the mhclo format, a vertex of a
garment is bound to three vertices of MakeHuman's base mesh, with an offset that scales with the body:

    p = w₁ v₁ + w₂ v₂ + w₃ v₃ + s ∘ o,   s_axis = |v_a − v_b|_axis / l_axis

Examples:
  python -m common.synthetic.assets.garment_files --source makehuman
  python -m common.synthetic.assets.garment_files --source makehuman --out wardrobe.npz
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from common.arrays import Float64Array, FloatArray, IntArray
from common.errors import SourceError, exit_code_of
from common.io.command_line import parser_of

WARDROBE_FILE = Path(__file__).resolve().parent.parent / "data" / "wardrobe.npz"
BASE_VERTICES = 19_158
"""Vertices of MakeHuman's base mesh, including its helper geometry."""

# From MakeHuman's axes (y up, facing +z) to a camera's.
_AXES = np.array([1.0, -1.0, -1.0], np.float32)


class Kind(StrEnum):
    """What a garment covers."""

    SUIT = "suit"
    SHOES = "shoes"
    HAIR = "hair"
    HAT = "hat"


@dataclass(frozen=True, eq=False)
class GarmentPattern:
    """A garment of N vertices and F triangles, bound to the base mesh, independent of the body's shape.

    Args:
        corners: (N, 3) vertices of the base mesh.
        barycentric: (N, 3) their weights; they sum to 1 and may be negative.
        offset: (N, 3) offset in camera axes, decimetres on MakeHuman's mean body.
        scale_pairs: (3, 2) for x, y, z the two base vertices whose distance along that axis scales the offset.
        scale_lengths: (3,) that distance at scale 1, decimetres.
        faces: (F, 3) triangles.
        hidden: (H,) vertices of the base mesh that it covers.
    """

    name: str
    kind: Kind
    corners: IntArray
    barycentric: FloatArray
    offset: FloatArray
    scale_pairs: IntArray
    scale_lengths: FloatArray
    faces: IntArray
    hidden: IntArray


def read_pattern(path: Path) -> GarmentPattern:
    """Reads a garment from its mhclo file and the OBJ file that it names.

    Raises:
        SourceError: a file is missing or has another format.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        bound, scales, hidden, mesh = _read_mhclo(lines)
        faces, count = _read_quads(path.parent / mesh)
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise SourceError(f"{path} is not a MakeHuman garment with a mesh ({error})") from error
    if not len(bound) == count > faces.max():
        raise SourceError(f"{path} binds {len(bound)} vertices, and its mesh has {count}")
    return GarmentPattern(
        name=path.stem,
        kind=_kind(path),
        corners=bound[:, :3].astype(np.int64),
        barycentric=bound[:, 3:6].astype(np.float32),
        offset=bound[:, 6:9].astype(np.float32) * _AXES,
        scale_pairs=np.array([scales[axis][:2] for axis in "xyz"], np.int64),
        scale_lengths=np.array([scales[axis][2] for axis in "xyz"], np.float32),
        faces=faces,
        hidden=hidden,
    )


def _kind(path: Path) -> Kind:
    folder = path.parent.name
    if path.parent.parent.name == "hair":
        return Kind.HAIR
    return Kind.SHOES if folder.startswith("shoes") else Kind.HAT if folder.startswith("fedora") else Kind.SUIT


def _read_mhclo(lines: Sequence[str]) -> tuple[Float64Array, dict[str, list[float]], IntArray, str]:
    """Bindings (N, 9), scales by axis, hidden base vertices, and the name of the mesh."""
    bound: list[list[float]] = []
    scales: dict[str, list[float]] = {}
    hidden: list[int] = []
    mesh, section = "", ""
    for line in lines:
        words = line.split("#")[0].split()
        if not words:
            continue
        if words[0][0].isalpha():
            # Settings may occur between the heading `verts` and the vertices.
            section = words[0] if words[0] in ("verts", "delete_verts") else section
            if words[0] == "obj_file":
                mesh = words[1]
            elif words[0].endswith("_scale"):
                scales[words[0][0]] = [float(word) for word in words[1:4]]
        elif section == "delete_verts":
            hidden += _ranges(words)
        elif section == "verts":
            numbers = [float(word) for word in words]
            # A line of one number binds a vertex to one base vertex.
            bound.append(numbers if len(numbers) == 9 else [numbers[0]] * 3 + [1, 0, 0, 0, 0, 0])
    if not bound or not mesh:
        raise ValueError("no bound vertices, or no obj_file")
    return np.array(bound), scales, np.array(sorted(set(hidden)), np.int64), mesh


def _ranges(words: Sequence[str]) -> Iterator[int]:
    """`3 5 - 7` → 3, 5, 6, 7."""
    position = 0
    while position < len(words):
        first = last = int(words[position])
        if words[position + 1 : position + 2] == ["-"]:
            last, position = int(words[position + 2]), position + 2
        yield from range(first, last + 1)
        position += 1


def _read_quads(path: Path) -> tuple[IntArray, int]:
    """Triangles (F, 3) of an OBJ file, in which polygons become triangle fans, and the number of its vertices."""
    triangles: list[list[int]] = []
    count = 0
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.split()
        if words[:1] == ["v"]:
            count += 1
        elif words[:1] == ["f"]:
            corners = [int(word.split("/")[0]) - 1 for word in words[1:]]
            triangles += [[corners[0], *corners[k : k + 2]] for k in range(1, len(corners) - 1)]
    return np.array(triangles, np.int64), count


_PACKED: dict[str, type[np.generic]] = {
    "corners": np.uint16,
    "barycentric": np.float16,
    "offset": np.float16,
    "scale_pairs": np.uint16,
    "scale_lengths": np.float32,
    "faces": np.uint16,
    "hidden": np.uint16,
}


def distinct(patterns: Iterable[GarmentPattern]) -> list[GarmentPattern]:
    """The garments with distinct geometry: the files have some of them in several colours."""
    distinct_patterns: list[GarmentPattern] = []
    for pattern in patterns:
        if not any(np.array_equal(pattern.offset, known.offset) for known in distinct_patterns):
            distinct_patterns.append(pattern)
    return distinct_patterns


def pack(patterns: Sequence[GarmentPattern], path: Path) -> None:
    """Writes garments to a file, with an error of micrometres."""
    save_packed({f"{item.kind}/{item.name}": item for item in patterns}, _PACKED, path)


def unpack(path: Path = WARDROBE_FILE) -> list[GarmentPattern]:
    """The garments that `pack` wrote."""
    patterns = []
    for key, arrays in load_packed(_PACKED, path).items():
        kind, _, name = key.partition("/")
        patterns.append(GarmentPattern(kind=Kind(kind), name=name, **arrays))
    return patterns


def save_packed(items: Mapping[str, object], dtypes: Mapping[str, type[np.generic]], path: Path) -> None:
    """Writes the array attributes `dtypes` of named items, mostly in 16-bit numbers."""
    arrays = {
        f"{name}/{field}": getattr(item, field).astype(dtype)
        for name, item in items.items()
        for field, dtype in dtypes.items()
    }
    np.savez_compressed(path, allow_pickle=False, **arrays)


def load_packed(fields: Iterable[str], path: Path) -> dict[str, dict[str, Any]]:
    """The attributes that `save_packed` wrote, in int64 and float32, by the sorted names of the items."""
    with np.load(path) as stored:
        names = sorted({name.rpartition("/")[0] for name in stored.files})
        return {name: {field: _widened(field, stored[f"{name}/{field}"]) for field in fields} for name in names}


def _widened(field: str, packed: npt.NDArray[np.generic]) -> IntArray | FloatArray:
    if packed.dtype == np.uint16:
        return packed.astype(np.int64)
    values = packed.astype(np.float32)
    # In half precision the weights sum to 1 ± 0.001, which would displace a vertex by a millimetre.
    return values / values.sum(1, keepdims=True) if field == "barycentric" else values


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = parser_of("python -m common.synthetic.assets.garment_files", __doc__)
    parser.add_argument("--source", type=Path, required=True, help="folder with clothes/ and hair/")
    parser.add_argument("--out", type=Path, default=WARDROBE_FILE, help="file to write (default: that of the package)")
    options = parser.parse_args(arguments)

    def work() -> None:
        files = sorted(options.source.glob("clothes/*/*.mhclo")) + sorted(options.source.glob("hair/*/*.mhclo"))
        if not files:
            raise SourceError(f"no garments in {options.source}: it must have folders clothes/ and hair/")
        patterns = distinct(read_pattern(file) for file in files)
        pack(patterns, options.out)
        print(f"{len(patterns)} garments, {sum(len(item.corners) for item in patterns)} vertices in {options.out}")

    return exit_code_of(parser.prog, work)


if __name__ == "__main__":
    raise SystemExit(main())
