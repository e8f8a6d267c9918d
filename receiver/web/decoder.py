"""Decodes uploads, each in a process of its own with little memory and time (`receiver.web.decoding`).

    upload ─ process: format, size, pixels ─→ picture, upright, coded again; or length of a clip

A decoder in C that is led astray ends that process, not the receiver. The process of the next upload waits for it, with
its libraries loaded, which takes half a second.
"""

import json
import logging
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, Popen, TimeoutExpired
from typing import Any

from common.text import printable
from receiver.web.children.standby import own_environment, own_program
from receiver.web.places import Refused

logger = logging.getLogger(__name__)

MAX_PIXELS = 50_000_000
"""Of a picture, or of a clip's frame: more than the sensors of phones deliver."""
MAX_CLIP_S = 60.0
"""A clip takes minutes to be played, while others wait."""
_WALL_S = 60.0
_TOO_LONG = "takes too long to decode: shrink it, or export it again"
# Those who watch live go first.
_NICE = 10
_PROGRAM = "receiver.web.decoding"


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


class Decoder:
    """Decodes uploads; safe to use from several threads."""

    def __init__(self) -> None:
        self._waiting: list[Popen[bytes]] = []
        self._closed = False

    def prepare(self) -> None:
        """Starts the process of the next upload, unless it waits already."""
        if not (self._waiting or self._closed):
            with suppress(OSError):  # the upload will say so
                self._waiting.append(_started())

    def close(self) -> None:
        """Ends the process that waits."""
        self._closed = True
        while self._waiting:
            with self._waiting.pop() as process:
                process.kill()

    def picture(self, content: bytes) -> DecodedPicture:
        """Checks a picture and codes it again, which drops metadata and whatever else the file holds.

        Transparent pixels become white, CMYK and grey levels RGB, 16 bits 8, and colour profiles are applied.

        Raises:
            Refused: it is no picture (415), too large (413), or cannot be used (422); 503 where the decoder fails.
        """
        facts, pictures = self._decoded("picture", content)
        size = facts.pop("content_bytes")
        return DecodedPicture(pictures[:size], pictures[size:], **facts)

    def clip(self, path: Path) -> CheckedClip:
        """Checks a clip.

        Raises:
            Refused: it is no clip (415), too large or too long (413), or cannot be used (422); 503 where the decoder
                fails.
        """
        facts, _ = self._decoded("clip", os.fsencode(path.absolute()))
        return CheckedClip(**facts)

    def _decoded(self, kind: str, given: bytes) -> tuple[dict[str, Any], bytes]:
        with self._taken() as process:
            try:
                found, errors = process.communicate(f"{kind}\n".encode() + given, _WALL_S)
            except TimeoutExpired as error:
                process.kill()
                raise Refused(422, f"the {kind} {_TOO_LONG}") from error
            finally:
                self.prepare()
        if process.returncode == -signal.SIGXCPU:
            raise Refused(422, f"the {kind} {_TOO_LONG}")
        if process.returncode < 0:  # its limits, or what the file has done to the decoder
            logger.info("the decoder of a %s was ended by %s", kind, signal.Signals(-process.returncode).name)
            raise Refused(422, f"the {kind} is damaged or incomplete: export it again")
        if process.returncode:
            last_line = errors.decode(errors="replace").strip().rpartition("\n")[2]
            logger.error("the decoder of a %s has failed: %s", kind, printable(last_line, 300))
            raise Refused(503, f"the receiver cannot decode the {kind}: its log says why", 10.0)
        head, _, rest = found.partition(b"\n")
        facts: dict[str, Any] = json.loads(head)
        if "refused" in facts:
            raise Refused(*facts["refused"])
        return facts, rest

    def _taken(self) -> Popen[bytes]:
        """The process that waits, if it has not ended, or another one."""
        try:
            process = self._waiting.pop()
        except IndexError:
            return _started()
        if process.poll() is None:
            return process
        process.communicate()
        return _started()


def _started() -> Popen[bytes]:
    # Each thread of these libraries takes a large part of the addresses.
    environment = own_environment(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    process = Popen(own_program(_PROGRAM), stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment)
    with suppress(OSError):  # it has ended already
        os.setpriority(os.PRIO_PROCESS, process.pid, _NICE)
    return process
