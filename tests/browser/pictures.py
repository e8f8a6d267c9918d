"""What is to be seen in screenshots."""

import io

import numpy as np
from PIL import Image
from playwright.sync_api import Locator, Page

from common.arrays import ByteArray

# Above the noise of the compression of nothing: screenshots are exact.
_DIFFERENT = 12


def scene(page: Page) -> ByteArray:
    """(H, W, 3): the middle of the canvas, where people are and no control is."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    box = page.locator(".viewport canvas").first.bounding_box()
    assert box is not None
    clip = {
        "x": box["x"] + 0.3 * box["width"],
        "y": box["y"] + 0.2 * box["height"],
        "width": 0.4 * box["width"],
        "height": 0.55 * box["height"],
    }
    picture = page.screenshot(clip=clip)  # type: ignore[arg-type]
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))


def settled(shown: Page | Locator, canvas: Locator) -> ByteArray:
    """What a page or canvas shows, (H, W, 3), once nothing moves and the canvas is drawn finely."""
    before = b""
    for _ in range(80):
        canvas.page.wait_for_timeout(250)
        finely = canvas.evaluate("canvas => canvas.width >= Math.floor(canvas.clientWidth)")
        shot = shown.screenshot()
        if shot == before and finely:
            break
        before = shot
    return np.asarray(Image.open(io.BytesIO(before)).convert("RGB"))


def distinct_colours(picture: ByteArray) -> int:
    """Number of colours: an empty floor has some dozens, a lit person hundreds."""
    return len(np.unique(picture.reshape(-1, 3), axis=0))


def differing_share(first: ByteArray, second: ByteArray) -> float:
    """Share of the pixels that differ visibly."""
    difference = np.abs(first.astype(np.int16) - second.astype(np.int16)).max(axis=-1)
    return float((difference > _DIFFERENT).mean())


def somebody_is_drawn(page: Page) -> bool:
    """Whether people appear: a slow machine takes some time until the camera has glided to them."""
    for _ in range(60):
        if distinct_colours(scene(page)) > 200:
            return True
        page.wait_for_timeout(250)
    return False
