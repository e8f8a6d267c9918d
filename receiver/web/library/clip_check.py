"""Uploaded clips: checked before a sender process plays them."""

import json
import logging
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from common.text import printable
from receiver.web.config import UploadConfig
from receiver.web.library import probe_process
from receiver.web.uploads.refusals import UploadRefused

logger = logging.getLogger(__name__)

MOST_FPS = 60
_MIN_SIDE = 32
_PROBE_S = 60.0
_HEAD_BYTES = 12
# Of the frames that a header promises, a whole file has all but a few that editing has cut.
_PRESENT = 0.95
_DAMAGED = "the clip is damaged or incomplete: export it again"
_MOV, _MATROSKA = "mov", "matroska"
_NAME_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class CheckedClip:
    """A clip that has passed all checks (`path`: where it is, under a name that may be shown)."""

    path: Path
    frames: int


def check_clip(path: Path, name: str, config: UploadConfig) -> CheckedClip:
    """Checks a clip, and renames its file to what its session is to call it.

    Args:
        name: of the file, as it was uploaded.

    Raises:
        UploadRefused: it is no clip (415), too large or too long (413), or cannot be used (422).
    """
    container_format = _format(path)
    facts = _facts(path, container_format)
    frames, promised = facts["frames"], facts.get("promised", 0)
    if not frames:
        raise UploadRefused(422, "the file has no video that can be decoded: export it again")
    if frames < _PRESENT * promised:
        raise UploadRefused(422, _DAMAGED)
    _check_size(int(facts["width"]), int(facts["height"]), config.upload_pixels)
    if facts["seconds"] > config.clip_seconds:
        raise UploadRefused(
            413, f"the clip is {facts['seconds']:.0f} s long, at most {config.clip_seconds:g} s are accepted: cut it"
        )
    if frames > MOST_FPS * (facts["seconds"] + 1):
        raise UploadRefused(413, f"the clip has more than {MOST_FPS} frames a second: export it with fewer")
    stem = "".join(each if each.isalnum() or each in " _-." else "_" for each in Path(name).stem).strip(" .-")
    shown = f"{stem[:_NAME_CHARACTERS] or 'clip'}.{'mp4' if container_format == _MOV else 'mkv'}"
    return CheckedClip(path.rename(path.with_name(shown)), int(frames))


def _format(path: Path) -> str:
    """FFmpeg's name of the container, by the file's first bytes: no other of its formats is tried."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head[4:8] == b"ftyp":
        return _MOV
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return _MATROSKA
    raise UploadRefused(415, "this is no clip: send MP4, MOV, WebM or Matroska")


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        most = f"at most {max_pixels / 1e6:g} million are accepted"
        raise UploadRefused(413, f"the clip has {width} × {height} pixels, {most}: shrink it")
    if min(width, height) < _MIN_SIDE:
        raise UploadRefused(422, f"the clip has {width} × {height} pixels: nobody can be found below {_MIN_SIDE}")


def _facts(path: Path, container_format: str) -> dict[str, float]:
    command = [sys.executable, "-m", probe_process.__name__, container_format, str(path)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_PROBE_S, check=True)
        facts: dict[str, float] = json.loads(done.stdout)
        return facts
    except (subprocess.SubprocessError, ValueError) as error:
        said = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip()
        logger.info("a clip cannot be read: %s", printable(said.rpartition("\n")[2] or str(error), 300))
        raise UploadRefused(422, _DAMAGED) from error
