"""What nobody has seen of a face is taken from its other side, in full detail.

Light and complexion differ from side to side, so smooth differences between what was seen of both are kept.
"""

import cv2
import numpy as np

from common.arrays import FloatArray, IntArray
from common.body.anatomy import ATLAS_SIZE, REGION_INDEX
from common.texture.atlas import AtlasLayout, Texture, sample

# Differences are smooth over so many texels, and are computed of squares with this side; where so little was seen of
# both sides, they count half.
_SIGMA_TEXELS, _STEP, _LITTLE = 12.0, 4, 0.02


class FaceMirror:
    """Completes faces of which one side was seen."""

    def __init__(self, layout: AtlasLayout) -> None:
        face = layout.region == REGION_INDEX["face"]
        paired = np.flatnonzero(face & (layout.mirror >= 0) & face[layout.mirror])
        self._texel: IntArray = layout.texel[paired].astype(np.int64)
        self._twin: IntArray = layout.texel[layout.mirror[paired]].astype(np.int64)
        self._square = layout.squares(_STEP)[paired]
        place = np.stack(np.divmod(self._texel, ATLAS_SIZE)[::-1], axis=1)
        self._coordinates: FloatArray = ((place + 0.5) / ATLAS_SIZE).astype(np.float32)

    def completed(self, texture: Texture) -> Texture:
        """The texture, in which texels of the face are known if their mirror texels are."""
        known, colours = texture.known.reshape(-1), texture.colours.reshape(-1, 3)
        seen, twin_seen = known[self._texel], known[self._twin]
        missing = twin_seen & ~seen
        if not missing.any():
            return texture
        both = np.flatnonzero(seen & twin_seen)
        differences = colours[self._texel[both]].astype(np.float32) - colours[self._twin[both]]
        smooth = sample(_smooth(self._square[both], differences), self._coordinates[missing])
        at, twin = self._texel[missing], self._twin[missing]
        whole, whole_known = colours.copy(), known.copy()
        whole[at] = np.rint(colours[twin] + smooth).clip(0, 255)
        whole_known[at] = True
        return Texture(whole.reshape(texture.colours.shape), whole_known.reshape(texture.known.shape))


def _smooth(square: IntArray, differences: FloatArray) -> FloatArray:
    """(Q, Q, 3) smooth differences, of those (n, 3) of texels in squares (n,) of which a side has Q."""
    count = ATLAS_SIZE // _STEP
    sums = [np.bincount(square, each, count**2) for each in (*differences.T, np.ones(len(square)))]
    shares = np.stack(sums, axis=1).reshape(count, count, 4).astype(np.float32) / _STEP**2
    coarse = cv2.GaussianBlur(shares, (0, 0), _SIGMA_TEXELS / _STEP)
    return np.asarray(coarse[..., :3] / (coarse[..., 3:] + _LITTLE), np.float32)
