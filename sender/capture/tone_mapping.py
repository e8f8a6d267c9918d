"""HDR pictures in the colours of SDR, which all networks were trained with (ITU-R BT.2100, BT.2408, BT.2087).

White of SDR is what BT.2408 calls reference white, 203 cd/m² or 75 % of HLG's signal; what is brighter is cut.  HLG is
taken as light of the scene, as cameras take it: its system gamma would darken what is below white.
"""

from functools import cache

import av
import cv2
import numpy as np
import numpy.typing as npt

from common.arrays import FloatArray, Image

_Levels = npt.NDArray[np.float64]
# `color_trc` of FFmpeg, the transfer characteristics of ITU-T H.273.
_PQ, _HLG = 16, 18
_LEVELS = 4096
_PEAK_NITS, _WHITE_NITS, _WHITE_HLG = 10_000.0, 203.0, 0.75
# From the primaries of BT.2020 to those of BT.709, both linear.
_TO_709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    np.float32,
)


def is_hdr(frame: av.VideoFrame) -> bool:
    """Whether a frame has to be mapped."""
    return frame.color_trc in (_PQ, _HLG)


def tone_mapped(frame: av.VideoFrame, width: int, height: int) -> Image:
    """An HDR frame as (height, width, 3) RGB of 8 bits."""
    signal = np.asarray(frame.to_ndarray(format="rgb48le", width=width, height=height), np.uint16) >> 4
    light = cv2.transform(_linear(frame.color_trc)[signal], _TO_709)
    levels = np.clip(light * (_LEVELS - 1), 0, _LEVELS - 1).astype(np.uint16)
    return _srgb()[levels]


@cache
def _linear(transfer: int) -> FloatArray:
    """Light of each level of the signal, where 1 is white."""
    signal = np.linspace(0.0, 1.0, _LEVELS)
    light = _pq(signal) * _PEAK_NITS / _WHITE_NITS if transfer == _PQ else _hlg(signal) / _hlg(np.array(_WHITE_HLG))
    return np.asarray(light, np.float32)


def _pq(signal: _Levels) -> _Levels:
    """The electro-optical transfer function of PQ (BT.2100, table 4), 0…1."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    power = signal ** (1 / m2)
    return np.asarray((np.maximum(power - c1, 0.0) / (c2 - c3 * power)) ** (1 / m1))


def _hlg(signal: _Levels) -> _Levels:
    """The inverse opto-electronic transfer function of HLG (BT.2100, table 5), 0…1."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.asarray(np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12))


@cache
def _srgb() -> Image:
    """Levels of 8 bits of light in `_LEVELS` steps (IEC 61966-2-1)."""
    light = np.linspace(0.0, 1.0, _LEVELS)
    signal = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(255 * signal), np.uint8)
