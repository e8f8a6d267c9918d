"""What nobody has seen of a face is taken from its other side, in full detail.

Light and complexion differ from side to side, so smooth differences between what was seen of both are kept.
"""

import cv2
import numpy as np

from common.arrays import FloatArray, IntArray
from common.body.anatomy import ATLAS_SIZE, REGION_INDEX
from common.texture.atlas import AtlasLayout, Texture

# Differences are smooth over so many texels, and are computed at this step; where so little was seen of both sides,
# they count half.
_SIGMA_TEXELS, _STEP, _LITTLE = 12.0, 4, 0.02


class FaceMirror:
    """Completes faces of which one side was seen."""

    def __init__(self, layout: AtlasLayout) -> None:
        face = layout.region == REGION_INDEX["face"]
        paired = np.flatnonzero(face & (layout.mirror >= 0) & face[layout.mirror])
        self._texel: IntArray = layout.texel[paired].astype(np.int64)
        self._twin: IntArray = layout.texel[layout.mirror[paired]].astype(np.int64)

    def completed(self, texture: Texture) -> Texture:
        """The texture, in which texels of the face are known if their mirror texels are."""
        known, colours = texture.known.reshape(-1), texture.colours.reshape(-1, 3)
        seen, twin_seen = known[self._texel], known[self._twin]
        missing = twin_seen & ~seen
        if not missing.any():
            return texture
        both = seen & twin_seen
        differences = np.zeros((ATLAS_SIZE**2, 4), np.float32)
        at, twin = self._texel[both], self._twin[both]
        differences[at, :3], differences[at, 3] = colours[at].astype(np.float32) - colours[twin], 1
        smooth = _smooth(differences.reshape(ATLAS_SIZE, ATLAS_SIZE, 4)).reshape(-1, 3)
        at, twin = self._texel[missing], self._twin[missing]
        whole, whole_known = colours.copy(), known.copy()
        whole[at] = np.rint(colours[twin] + smooth[at]).clip(0, 255)
        whole_known[at] = True
        return Texture(whole.reshape(texture.colours.shape), whole_known.reshape(texture.known.shape))


def _smooth(differences: FloatArray) -> FloatArray:
    """(S, S, 3) smooth differences, of some (S, S, 4) with their weights."""
    small = (ATLAS_SIZE // _STEP, ATLAS_SIZE // _STEP)
    coarse = cv2.GaussianBlur(
        cv2.resize(differences, small, interpolation=cv2.INTER_AREA), (0, 0), _SIGMA_TEXELS / _STEP
    )
    means = coarse[..., :3] / (coarse[..., 3:] + _LITTLE)
    return np.asarray(cv2.resize(means, (ATLAS_SIZE, ATLAS_SIZE), interpolation=cv2.INTER_LINEAR), np.float32)
