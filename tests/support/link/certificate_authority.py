"""A private certificate authority, made by the scripts of `deploy/certs`."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

CERTS = Path(__file__).parents[3] / "deploy" / "certs"


@dataclass(frozen=True)
class Authority:
    """A private certificate authority in a folder."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Self:
        subprocess.run(["sh", str(CERTS / "make-ca.sh"), str(folder)], check=True, capture_output=True)
        return cls(folder)

    @property
    def certificate(self) -> Path:
        return self.folder / "ca.pem"

    def issue(self, name: str, *hosts: str, days: int = 1) -> tuple[Path, Path]:
        """Issues a certificate; returns the paths of certificate and key."""
        command = ["sh", str(CERTS / "issue.sh"), str(self.folder), name, *hosts]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "DAYS": str(days)})
        return self.folder / f"{name}.pem", self.folder / f"{name}.key"
