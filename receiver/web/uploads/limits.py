"""Limits of what is uploaded, beside those of its bytes (`UploadConfig`)."""

MAX_PIXELS = 50_000_000
"""Of a picture, or of a clip's frame: more than the sensors of phones deliver."""
MIN_SIDE = 32
"""Pixels of a picture or frame; nobody can be found in less."""
MAX_CLIP_S = 60.0
"""A clip takes minutes to be played, while others wait."""
MAX_FPS = 60
"""Frames a second of a clip."""
