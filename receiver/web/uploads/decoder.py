"""Decodes uploads, each in a process of its own with little memory and time (`decoder_process`).

    upload ─ process: format, size, pixels ─→ picture, upright, coded again; or length of a clip

A decoder in C that is led astray ends that process, not the receiver.
"""

import json
import logging
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.text import printable
from receiver.web.children.standby import own_environment, own_program
from receiver.web.places import Refused
from receiver.web.uploads import decoder_process

logger = logging.getLogger(__name__)

_WALL_S = 60.0
_TOO_LONG = "takes too long to decode: shrink it, or export it again"


@dataclass(frozen=True, slots=True)
class DecodedPicture:
    """A picture that has passed all checks.

    Args:
        content: JPEG, upright, without metadata but the focal length; at most 2560 pixels on its longer side.
        shown: the same without any metadata, at most 1024 pixels.
        width, height: of the upright picture as it was uploaded, pixels.
        pictures: how many the file had, of which this is the first.
    """

    content: bytes
    shown: bytes
    width: int
    height: int
    pictures: int = 1

    @property
    def warnings(self) -> list[str]:
        """What the user should know of it."""
        text = f"of its {self.pictures} pictures the first was used: upload an animation as a clip, pages one by one"
        return [text] if self.pictures > 1 else []


@dataclass(frozen=True, slots=True)
class CheckedClip:
    """A clip that has passed all checks (`suffix`: of a file of its format)."""

    suffix: str
    frames: int


def decode_picture(content: bytes) -> DecodedPicture:
    """Checks a picture and codes it again, which drops metadata and whatever else the file holds.

    Transparent pixels become white, CMYK and grey levels RGB, 16 bits 8, and colour profiles are applied.

    Raises:
        Refused: it is no picture (415), too large (413), or cannot be used (422); 503 where the decoder fails.
    """
    facts, pictures = _decoded("picture", content=content)
    size = facts["content_bytes"]
    return DecodedPicture(pictures[:size], pictures[size:], facts["width"], facts["height"], facts["pictures"])


def check_clip(path: Path) -> CheckedClip:
    """Checks a clip.

    Raises:
        Refused: it is no clip (415), too large or too long (413), or cannot be used (422); 503 where the decoder fails.
    """
    facts, _ = _decoded("clip", str(path))
    return CheckedClip(**facts)


def _decoded(kind: str, *arguments: str, content: bytes = b"") -> tuple[dict[str, Any], bytes]:
    command = [*own_program(decoder_process.__name__), kind, *arguments]
    # Each thread of these libraries takes a large part of the addresses.
    environment = own_environment(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    try:
        done = subprocess.run(
            command, input=content, capture_output=True, timeout=_WALL_S, check=False, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise Refused(422, f"the {kind} {_TOO_LONG}") from error
    if done.returncode == -signal.SIGXCPU:
        raise Refused(422, f"the {kind} {_TOO_LONG}")
    if done.returncode < 0:  # its limits, or what the file has done to the decoder
        logger.info("the decoder of a %s was ended by %s", kind, signal.Signals(-done.returncode).name)
        raise Refused(422, f"the {kind} is damaged or incomplete: export it again")
    if done.returncode:
        last_line = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        logger.error("the decoder of a %s has failed: %s", kind, printable(last_line, 300))
        raise Refused(503, f"the receiver cannot decode the {kind}: its log says why", 10.0)
    head, _, rest = done.stdout.partition(b"\n")
    facts: dict[str, Any] = json.loads(head)
    if "refused" in facts:
        raise Refused(*facts["refused"])
    return facts, rest
