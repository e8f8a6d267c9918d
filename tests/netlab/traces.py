"""Capacity of a link over time, from recorded traces in three formats.

Mahimahi    one line per packet: the millisecond at which 1,500 bytes may be sent
alphartc    JSON: segments of `duration` ms with `capacity` kbit/s
norway3g    one line per measurement: seconds, Mbit/s
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from common.arrays import Float64Array

_PACKET_BYTES = 1500
_BIN_S = 0.1
# A link of exactly zero would never deliver.
_MIN_BYTES_PER_S = 1.0


@dataclass(frozen=True, eq=False)
class Trace:
    """Capacity as a piecewise constant rate, repeated after its end.

    Args:
        ends_s: (N,) end of each segment, rising from above 0.
        bytes_per_s: (N,) its rate.

    Raises:
        ValueError: there is no segment, the ends do not rise, or a rate is negative.
    """

    ends_s: Float64Array
    bytes_per_s: Float64Array

    def __post_init__(self) -> None:
        if not len(self.ends_s) or np.any(np.diff(self.ends_s, prepend=0.0) <= 0) or np.any(self.bytes_per_s < 0):
            raise ValueError("a trace has one or more segments of rising ends and rates of at least 0")

    @classmethod
    def constant(cls, kbps: float) -> Self:
        """A constant rate."""
        return cls(np.array([1.0]), np.array([kbps * 125.0]))

    @classmethod
    def steps(cls, *segments: tuple[float, float]) -> Self:
        """Segments of (seconds, kbit/s)."""
        seconds, kbps = np.array(segments, np.float64).T
        return cls(np.cumsum(seconds), kbps * 125.0)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a recorded trace; the format is detected from the content.

        Raises:
            ValueError: the file is in none of the three formats.
        """
        text = path.read_text(encoding="utf-8")
        try:
            if text.lstrip().startswith("{"):
                return cls._alphartc(json.loads(text))
            rows = [line.split() for line in text.splitlines() if line.strip()]
            if all(len(row) == 1 for row in rows):
                return cls._mahimahi(np.array([float(row[0]) for row in rows]))
            return cls._norway(np.array([[float(field) for field in row] for row in rows]))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a trace of a known format: {error}") from error

    @classmethod
    def _mahimahi(cls, packet_ms: Float64Array) -> Self:
        bins = int(np.floor(packet_ms.max() / 1e3 / _BIN_S)) + 1
        count = np.bincount((packet_ms / 1e3 / _BIN_S).astype(int), minlength=bins)
        ends_s = np.arange(1, bins + 1, dtype=np.float64) * _BIN_S
        return cls(ends_s, np.asarray(count * _PACKET_BYTES / _BIN_S, np.float64))

    @classmethod
    def _alphartc(cls, document: dict[str, dict[str, list[dict[str, float]]]]) -> Self:
        segments = document["uplink"]["trace_pattern"]
        ends = np.cumsum([segment["duration"] / 1e3 for segment in segments])
        return cls(ends, np.array([segment["capacity"] * 125.0 for segment in segments]))

    @classmethod
    def _norway(cls, rows: Float64Array) -> Self:
        at_s, mbps = rows.T
        last_s = float(np.median(np.diff(at_s)))
        ends = np.append(at_s[1:], at_s[-1] + last_s) - at_s[0]
        return cls(np.asarray(ends, np.float64), np.asarray(mbps * 125_000.0, np.float64))

    @property
    def length_s(self) -> float:
        """Length before it repeats."""
        return float(self.ends_s[-1])

    def scaled(self, low_kbps: float, high_kbps: float) -> Self:
        """Scales the rates linearly so that their 5th and 95th percentile are these; clamped at 0."""
        lengths = np.diff(self.ends_s, prepend=0.0)
        order = np.argsort(self.bytes_per_s)
        share = np.cumsum(lengths[order]) / self.length_s
        low, high = np.interp([0.05, 0.95], share, self.bytes_per_s[order])
        if high <= low:
            return type(self)(self.ends_s, np.full_like(self.bytes_per_s, high_kbps * 125.0))
        kbps = low_kbps + (self.bytes_per_s - low) / (high - low) * (high_kbps - low_kbps)
        return type(self)(self.ends_s, np.maximum(kbps, 0.0) * 125.0)

    def carried(self, now_s: float) -> float:
        """Bytes that the link could carry from 0 to `now_s`."""
        rounds, rest = divmod(now_s, self.length_s)
        whole = self._totals()
        return float(rounds * whole[-1] + np.interp(rest, self._starts(), whole))

    def time_of(self, carried: float) -> float:
        """When the link could have carried this many bytes: the inverse of `carried`."""
        whole = self._totals()
        rounds, rest = divmod(carried, whole[-1])
        return float(rounds * self.length_s + np.interp(rest, whole, self._starts()))

    def _starts(self) -> Float64Array:
        return np.concatenate([[0.0], self.ends_s])

    def _totals(self) -> Float64Array:
        rates = np.maximum(self.bytes_per_s, _MIN_BYTES_PER_S)
        return np.concatenate([[0.0], np.cumsum(rates * np.diff(self.ends_s, prepend=0.0))])
