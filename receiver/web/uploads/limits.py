"""Limits of what is uploaded, beside those of its bytes (`UploadConfig`)."""

from receiver.web.places import Refused

MAX_PIXELS = 50_000_000
"""Of a picture, or of a clip's frame: more than the sensors of phones deliver."""
MIN_SIDE = 32
"""Pixels of a picture or frame; nobody can be found in less."""
MAX_CLIP_S = 60.0
"""A clip takes minutes to be played, while others wait."""
MAX_FPS = 60
"""Frames a second of a clip."""


def check_size(noun: str, width: int, height: int) -> None:
    """Raises Refused: 413 for a picture or frame with too many pixels, 422 with too few."""
    size = f"the {noun} has {width} × {height} pixels"
    if width * height > MAX_PIXELS:
        raise Refused(413, f"{size}, at most {MAX_PIXELS / 1e6:g} million are accepted: shrink it")
    if min(width, height) < MIN_SIDE:
        raise Refused(422, f"{size}: nobody can be found below {MIN_SIDE}")
