"""Options of the output directory."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.io.command_line import option

PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700
_SHARED_FILE, _SHARED_FOLDER = 0o644, 0o755

Meshes = Literal["all", "surfaces", "none"]
"""What is written of a frame: of `none` only poses, which are documents that refer to what frames share."""


@dataclass(frozen=True, slots=True)
class PublishConfig:
    """The output files of the receiver."""

    out: Path = option(Path("out"), help="output directory")
    format: Literal["glb", "obj", "ply"] = option("glb", help="format of the meshes")
    mesh_every: int = option(1, help="write meshes for every n-th frame", advanced=True)
    meshes: Meshes = option(
        "all", help="of each frame write surface and body, the surface alone, or only poses", formerly="body"
    )
    share_output: bool = option(False, help="let other users of this machine read the output", advanced=True)
    share_sessions: bool = option(
        False, help="share sessions with receivers whose --out lies beside this one's", advanced=True
    )
    keep_days: float | None = option(None, help="delete sessions so many days after their end (default: keep them)")
    keep_gb: float | None = option(
        None,
        help="when sessions have more gigabytes, delete the oldest ended ones down to nine tenths (default: keep them)",
    )

    def __post_init__(self) -> None:
        for flag, value in (("--keep-days", self.keep_days), ("--keep-gb", self.keep_gb)):
            if value is not None and not 0 < value < 1e6:
                raise ValueError(f"{flag} must be above 0, got {value:g}; leave it out to keep everything")
        if self.meshes == "none" and self.format != "glb":
            raise ValueError(
                f"--meshes none keeps poses, which {self.format} has not: use --format glb or --meshes surfaces"
            )
        if self.mesh_every < 1:
            raise ValueError(f"mesh-every must be at least 1, got {self.mesh_every}")

    @property
    def file_mode(self) -> int:
        """Permissions of new files, less the umask."""
        return _SHARED_FILE if self.share_output else PRIVATE_FILE

    @property
    def folder_mode(self) -> int:
        """Permissions of new folders, less the umask."""
        return _SHARED_FOLDER if self.share_output else PRIVATE_FOLDER
