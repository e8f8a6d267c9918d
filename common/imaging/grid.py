"""The grids of a picture's latents and hyper latents."""

STRIDE = 16
"""Pixels from one latent to the next, in both directions."""
HYPER_STRIDE = 4
"""Latents from one hyper latent to the next."""


def latent_grid(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the latents of a picture of this height and width, in pixels."""
    return -(-size[0] // STRIDE), -(-size[1] // STRIDE)


def hyper_grid(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the hyper latents of a picture of this height and width, in pixels."""
    rows, columns = latent_grid(size)
    return -(-rows // HYPER_STRIDE), -(-columns // HYPER_STRIDE)
