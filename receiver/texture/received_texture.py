"""The tiles of people's texture atlases that have arrived, and the atlas that they make up."""

import asyncio
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import cv2
import numpy as np

from common.arrays import BoolArray, ByteArray
from common.blobs import Blob
from common.body.anatomy import ATLAS_SIZE
from common.texture.atlas import Texture
from common.texture.atlas_tiles import LEVEL_SIZES, Tile, decode

logger = logging.getLogger(__name__)

InpaintLater = Callable[["ReceivedTexture"], "asyncio.Future[ByteArray | None]"]
"""Begins to estimate a person's `ReceivedTexture.completion` in another thread; None if all their skin is known."""

# People of a session whose textures are kept, those with the newest tiles: each takes up to 2.4 MB.
_MAX_PEOPLE = 24
# Seconds for which a live session's frames share one state of a texture: a new one takes some 10 ms to paint.
_STATE_S = 0.25
_FINEST = len(LEVEL_SIZES) - 1
# Least time between the beginnings of a person's completions, seconds: each takes up to 200 ms of a core.
_COMPLETION_S = 0.52


@dataclass(frozen=True, slots=True, eq=False)
class ReceivedTexture:
    """The tiles of one person; a new object for every change, so that what depends on it can be cached.

    Args:
        tiles: colours (n, n, 3) and known texels (n, n) of each tile that has arrived.
        completion: (c, c, 3) uint8 RGB, estimated colours of the whole atlas, with seams extended beyond the skin: a
            prior for texels that no tile knows, maybe estimated from earlier tiles.  None before it is computed.

    The atlas of the coarse levels is computed when it is first needed.
    """

    tiles: Mapping[Tile, tuple[ByteArray, BoolArray]] = field(default_factory=dict)
    completion: ByteArray | None = None
    _coarse: list[Texture] = field(default_factory=list, repr=False)

    def with_tile(self, tile: Tile, data: bytes) -> Self:
        """With a tile in place of an earlier one; without it, if it is withdrawn. Raises MalformedPacket."""
        decoded = decode(tile, data)
        tiles = {other: content for other, content in self.tiles.items() if other != tile}
        # Most tiles are of the finest level, and what is below it need not be enlarged again.
        coarse = self._coarse if tile.level == _FINEST else []
        return type(self)(tiles if decoded is None else {**tiles, tile: decoded}, self.completion, coarse)

    def with_completion(self, completion: ByteArray) -> Self:
        """The same tiles with estimated colours (c, c, 3) of the whole atlas, in place of earlier ones."""
        return replace(self, completion=completion)

    def texture(self) -> Texture:
        """The atlas: at each texel, the colour of the finest tile that knows it."""
        if not self._coarse:
            self._coarse.append(self._of_coarse_levels())
        colours, known = self._coarse[0].colours.copy(), self._coarse[0].known.copy()
        for tile, (finer, finer_known) in self.tiles.items():
            if tile.level == _FINEST:
                colours[tile.area] = cv2.copyTo(finer, finer_known.astype(np.uint8), colours[tile.area].copy())
                known[tile.area] |= finer_known
        return Texture(colours, known)

    def _of_coarse_levels(self) -> Texture:
        colours = np.zeros((ATLAS_SIZE, ATLAS_SIZE, 3), np.uint8)
        known = np.zeros((ATLAS_SIZE, ATLAS_SIZE), np.uint8)
        for level in sorted({tile.level for tile in self.tiles} - {_FINEST}):
            finer, finer_known = self._enlarged(level)
            cv2.copyTo(finer, finer_known, colours)
            known |= finer_known
        return Texture(colours, known.astype(np.bool_))

    def _enlarged(self, level: int) -> tuple[ByteArray, ByteArray]:
        """Colours (S, S, 3) and a mask (S, S), 0 or 1, of the known texels of one level, at the size of the atlas."""
        size = LEVEL_SIZES[level]
        colours, known = np.zeros((size, size, 3), np.uint8), np.zeros((size, size), np.uint8)
        for tile in (tile for tile in self.tiles if tile.level == level):
            rows, columns = (slice(place * tile.size, (place + 1) * tile.size) for place in (tile.row, tile.column))
            colours[rows, columns], known[rows, columns] = self.tiles[tile]
        side = (ATLAS_SIZE, ATLAS_SIZE)
        mask = cv2.resize(known, side, interpolation=cv2.INTER_NEAREST)
        # Channel by channel, which is five times as fast as along the short axis.
        shares, *sums = (
            cv2.resize(plane.astype(np.float32), side, interpolation=cv2.INTER_LINEAR)
            for plane in (known, *(plane * known for plane in cv2.split(colours)))
        )
        shares = np.maximum(shares, 1e-3)
        means = cv2.merge([cv2.divide(each, shares, dtype=cv2.CV_8U) for each in sums])
        return np.asarray(means, np.uint8), np.asarray(mask, np.uint8)


@dataclass(slots=True)
class _Run:
    """The latest completion of a person.

    Args:
        tiles: those of the texture that it was begun with.
        begun_at: when the frame was captured before which it began.
        estimated: its result; None when that was taken.
    """

    tiles: Mapping[Tile, tuple[ByteArray, BoolArray]]
    begun_at: float
    estimated: "asyncio.Future[ByteArray | None] | None"

    def is_out_of_date(self, texture: ReceivedTexture, captured_at: float) -> bool:
        """Whether another one should begin."""
        has_changed = self.estimated is None and self.tiles is not texture.tiles
        return has_changed and _has_passed(_COMPLETION_S, self.begun_at, captured_at)


class _Completions:
    """Completes the textures of a session's people in other threads, one at a time for each person.

    The first completion of a person begins as soon as it is asked for.  Another one begins if a tile has arrived since
    the last one began, `_COMPLETION_S` after that at the earliest: most tiles tell little that is new.
    """

    def __init__(self, inpaint_later: InpaintLater | None) -> None:
        self._inpaint_later = inpaint_later
        self._runs: dict[int, _Run] = {}
        self._logged_failure = False

    def begin(self, textures: Mapping[int, ReceivedTexture], captured_at: float) -> None:
        """Begins completions of these people's textures that are missing, or out of date in a frame."""
        if self._inpaint_later is None:
            return
        for identity, texture in textures.items():
            run = self._runs.get(identity)
            if run is None or run.is_out_of_date(texture, captured_at):
                self._runs[identity] = _Run(texture.tiles, captured_at, self._inpaint_later(texture))

    async def wait(self, people: Iterable[int]) -> None:
        """Waits until those of these people that have begun are done."""
        running = [run.estimated for each in people if (run := self._runs.get(each)) and run.estimated is not None]
        if running:
            await asyncio.wait(running)

    def take(self) -> dict[int, ByteArray]:
        """Those that are done by now, by identity; one that failed is left out, with a log line for the first."""
        taken = {}
        for identity, run in self._runs.items():
            if run.estimated is not None and run.estimated.done():
                estimated, run.estimated = run.estimated, None
                if (completion := self._result(estimated)) is not None:
                    taken[identity] = completion
        return taken

    def forget(self, identity: int) -> None:
        """Gives up the completion of a person who is gone."""
        run = self._runs.pop(identity, None)
        if run is not None and run.estimated is not None and not run.estimated.cancel():
            # asyncio complains about failures that nobody has asked for.
            self._result(run.estimated)

    def close(self) -> None:
        """Gives up all."""
        for identity in list(self._runs):
            self.forget(identity)

    def _result(self, estimated: "asyncio.Future[ByteArray | None]") -> ByteArray | None:
        if estimated.cancelled():
            return None
        # Any error: colours that are only estimated must not end a session.
        error = estimated.exception()
        if error is None:
            return estimated.result()
        if not self._logged_failure:
            self._logged_failure = True
            logger.warning("what no camera has seen of a person is filled from the surroundings: %s", error)
        return None


class ReceivedTextures:
    """The textures of a session's people.

    Args:
        inpaint_later: estimates what no camera has seen, while frames go on without it; without it, nothing does.
    """

    def __init__(self, inpaint_later: InpaintLater | None = None) -> None:
        self._completions = _Completions(inpaint_later)
        self._newest: dict[int, ReceivedTexture] = {}
        self._used: dict[int, ReceivedTexture] = {}
        self._used_since = -math.inf

    def take(self, blob: Blob) -> None:
        """Takes a tile of the kind `TEXTURE`.

        Raises:
            MalformedPacket: it does not decode, or its key is out of range.
        """
        tile, identity = Tile.of_key(blob.key)
        texture = self._newest.get(identity, ReceivedTexture()).with_tile(tile, blob.data)
        self._newest.pop(identity, None)
        if texture.tiles:
            self._newest[identity] = texture
        else:
            self._forget(identity)
        if len(self._newest) > _MAX_PEOPLE:
            self._forget(next(iter(self._newest)))

    async def completed(self, people: Iterable[int], captured_at: float) -> None:
        """Waits until completions of some people are done.

        Colours then depend on the order of tiles and frames, not on the time that threads take.  The first completion
        of a person is that of all tiles that have arrived; another one follows after `_COMPLETION_S` at the earliest.

        Args:
            people: their identities; those without a texture are passed over.
            captured_at: of the frame that they are in, seconds on the sender's clock.
        """
        chosen = {each: self._newest[each] for each in people if each in self._newest}
        self._completions.begin(chosen, captured_at)
        await self._completions.wait(chosen)
        self._take_completions()

    def close(self) -> None:
        """Gives up completions that are not done."""
        self._completions.close()

    def _take_completions(self) -> None:
        """Places the completions that are done by now."""
        for identity, completion in self._completions.take().items():
            self._newest[identity] = self._newest[identity].with_completion(completion)

    def _forget(self, identity: int) -> None:
        self._newest.pop(identity, None)
        self._completions.forget(identity)

    def of_next_frame(self, captured_at: float, *, wait: bool) -> Mapping[int, ReceivedTexture]:
        """The textures of a session's next frame, by identity.

        Args:
            captured_at: seconds on the sender's clock.
            wait: tiles may wait for others, except a person's first; completions begin, for later frames.  Without it,
                the textures are those that `completed` has waited for.
        """
        if wait:
            self._take_completions()
            self._completions.begin(self._newest, captured_at)
        is_old = _has_passed(_STATE_S, self._used_since, captured_at)
        if not wait or is_old or self._used.keys() != self._newest.keys():
            self._used_since, self._used = captured_at, dict(self._newest)
        return self._used

    def forget(self, identities: Iterable[int]) -> None:
        """Drops the textures of people."""
        for identity in identities:
            self._forget(identity)


def _has_passed(period_s: float, since: float, captured_at: float) -> bool:
    """Whether so much time has passed on a sender's clock, which may have been set back since."""
    return not 0 <= captured_at - since < period_s
