"""HEIF pictures, as phones take them, for Pillow, which reads AVIF by itself.

pi-heif decodes only: unlike pillow-heif, its wheels have no encoder under the GPL.
"""


def register_heif() -> None:
    """Lets Pillow open HEIF, as the format `HEIF`: the main picture, turned as the file says."""
    import pi_heif  # takes 50 ms

    pi_heif.register_heif_opener(thumbnails=False)
