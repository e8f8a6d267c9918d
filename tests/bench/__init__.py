"""Benches by subject; a command is found without its folder: `python -m tests.bench.quality`."""

from pathlib import Path

_folders = (init.parent for init in sorted(Path(__file__).parent.glob("*/__init__.py")))
__path__ += [str(folder) for folder in _folders if not (folder / "__main__.py").exists()]
