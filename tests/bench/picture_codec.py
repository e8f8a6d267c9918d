"""Bytes of the picture codec, WebP, JPEG and AVIF at equal MS-SSIM: `python -m tests.bench.picture_codec`.

Atlases are RGBA pictures of the test split (`python -m sender.train.atlases --split test`).  All 16 tiles of the finest
level are coded; MS-SSIM is of the whole atlas, over its known texels.  WebP and AVIF keep the mask as alpha; *+ mask
codec* are the colours alone, filled, beside the bytes of the mask codec.  Of other pictures, the 256² pixels in the
middle are coded.  A point of a curve is one quality: means of the bytes and of the MS-SSIM, in dB, over everything
coded.  Ratios compare bytes where the curves have the same MS-SSIM: on average over the part that both cover, and where
WebP has the quality of the product.
"""

import argparse
import io
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Pictures

from common.arrays import BoolArray, ByteArray, Float64Array, FloatArray, Image
from common.channel.transmission import psnr_db
from common.errors import UsageError
from common.imaging.picture_file import read_picture
from common.picture_codec.weights import load_codecs
from common.texture.atlas_tiles import LEVEL_SIZES, TILES, Tile, decode, learned_tile, webp_tile
from common.texture.hole_filling import filled
from common.training.codec_crops import read_atlases
from common.training.picture_cache import picture_files
from tests.bench import report
from tests.bench.ms_ssim import ms_ssim, similarities

_CROP_PX = 256
_FINEST = [tile for tile in TILES if tile.level == len(LEVEL_SIZES) - 1]
_WEBP_QUALITIES = (20, 40, 60, 72, 80, 90)
_LEARNED_QUALITIES = (0, 20, 40, 60, 80, 100)
_JPEG_QUALITIES = (20, 35, 50, 70, 90)
_AVIF_QUALITIES = (30, 45, 60, 75)
_PRODUCT_QUALITY = 72
_SCALES, _RADIUS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333), 5


@dataclass(frozen=True)
class Point:
    """One quality of one codec: means over everything coded."""

    quality: int
    size: float
    similarity_db: float
    psnr_db: float
    encode_ms: float
    decode_ms: float


Measured = tuple[int, float, float, float, float]
"""Bytes, MS-SSIM and PSNR in dB, and milliseconds of encoding and decoding."""
Coder = Callable[[int], Measured]
"""Codes at a quality."""
Encode = Callable[[ByteArray, BoolArray, int], bytes]
"""Codes the colours of a tile, with its mask or without it, at a quality."""
Read = Callable[[Tile, bytes], ByteArray]
"""The colours of a coded tile."""


def masked_ms_ssim(picture: Image, original: Image, known: BoolArray) -> float:
    """MS-SSIM over the windows around known pixels; the others of both pictures are equal."""
    x = np.where(known[..., None], picture, original).astype(np.float32)
    y, weight, product = original.astype(np.float32), known.astype(np.float32), np.ones(3)
    for scale, exponent in enumerate(_SCALES):
        luminance, structure = similarities(x, y)
        values = luminance * structure if scale == len(_SCALES) - 1 else structure
        inside = weight[_RADIUS:-_RADIUS, _RADIUS:-_RADIUS, None]
        product *= np.clip((values * inside).sum((0, 1), dtype=np.float64) / inside.sum(), 0, None) ** exponent
        x, y, weight = (_halved(each) for each in (x, y, weight))
    return float(product.mean())


def _halved(x: FloatArray) -> FloatArray:
    return np.asarray(cv2.resize(x, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.float32)


def as_db(similarity: float) -> float:
    """−10 log₁₀(1 − MS-SSIM)."""
    return -10 * float(np.log10(max(1 - similarity, 1e-6)))


def atlas_coder(atlas: ByteArray, encode: Encode, read: Read, *, with_mask: bool) -> Coder:
    """Codes the finest tiles of an atlas.

    Args:
        atlas: RGBA.
        encode: makes a tile; without `with_mask`, of colours alone.
        read: the colours of a tile.
        with_mask: the tile carries its mask; else the bytes of the mask codec are added.
    """
    colours, known = np.ascontiguousarray(atlas[..., :3]), atlas[..., 3] > 0
    masks = load_codecs()[1]

    def code(quality: int) -> Measured:
        whole, size, spent = colours.copy(), 0, np.zeros(2)
        for tile in _FINEST:
            mask = known[tile.area]
            if not mask.any():
                continue
            began_s = time.perf_counter()
            data = encode(colours[tile.area], mask, quality)
            middle_s = time.perf_counter()
            decoded = read(tile, data)
            spent += (middle_s - began_s, time.perf_counter() - middle_s)
            size += len(data) + (0 if with_mask else 3 + len(masks.encode(mask)))
            whole[tile.area] = decoded
        tiles = sum(bool(known[tile.area].any()) for tile in _FINEST)
        encode_ms, decode_ms = 1e3 * spent / tiles
        return (
            size,
            as_db(masked_ms_ssim(whole, colours, known)),
            psnr_db(whole[known], colours[known]),
            encode_ms,
            decode_ms,
        )

    return code


def webp_colours(colours: ByteArray, known: BoolArray, quality: int) -> bytes:
    """A WebP tile without unknown texels, whose colours are filled as for the picture codec."""
    return webp_tile(filled(colours, known), np.ones_like(known), quality)


def avif_tile(colours: ByteArray, known: BoolArray, quality: int) -> bytes:
    """A tile as AVIF, its mask as alpha."""
    return _encoded(np.dstack([filled(colours, known), np.where(known, 255, 0).astype(np.uint8)]), "AVIF", quality)


def avif_colours(colours: ByteArray, known: BoolArray, quality: int) -> bytes:
    """A tile's filled colours as AVIF."""
    return _encoded(filled(colours, known), "AVIF", quality)


def tile_colours(tile: Tile, data: bytes) -> ByteArray:
    """The colours of a tile as the receiver decodes it."""
    decoded = decode(tile, data)
    assert decoded is not None
    return decoded[0]


def file_colours(_: Tile | None, data: bytes) -> ByteArray:
    """The colours of a picture's file."""
    return np.asarray(Pictures.open(io.BytesIO(data)).convert("RGB"))


def picture_coder(picture: Image, kind: str) -> Coder:
    """Codes a picture in a file format, or with the picture codec."""
    codec = load_codecs()[0]

    def code(quality: int) -> Measured:
        began_s = time.perf_counter()
        data = codec.encode(picture, quality) if kind == "learned" else _encoded(picture, kind, quality)
        middle_s = time.perf_counter()
        decoded = codec.decode(data, *picture.shape[:2]) if kind == "learned" else file_colours(None, data)
        spent_ms = 1e3 * (middle_s - began_s), 1e3 * (time.perf_counter() - middle_s)
        return len(data), as_db(ms_ssim(decoded, picture)), psnr_db(decoded, picture), *spent_ms

    return code


def _encoded(picture: Image, kind: str, quality: int) -> bytes:
    content = io.BytesIO()
    Pictures.fromarray(picture).save(content, kind, quality=quality, method=4, optimize=True, speed=6)
    return content.getvalue()


def curve(coders: Sequence[Coder], qualities: Sequence[int]) -> list[Point]:
    """The mean over all coders at each quality."""
    return [Point(quality, *np.mean([code(quality) for code in coders], axis=0).tolist()) for quality in qualities]


def size_at(points: Sequence[Point], similarity_db: Float64Array) -> Float64Array:
    """Bytes of a curve at an MS-SSIM, with their logarithm interpolated; NaN outside of the curve."""
    ordered = sorted(points, key=lambda point: point.similarity_db)
    at = [point.similarity_db for point in ordered]
    sizes = np.log([point.size for point in ordered])
    return np.asarray(np.exp(np.interp(similarity_db, at, sizes, left=np.nan, right=np.nan)), np.float64)


def ratios(points: Sequence[Point], reference: Sequence[Point]) -> tuple[float, float]:
    """Bytes relative to the reference: the geometric mean over what both cover, and at the product's quality."""
    lowest = max(min(point.similarity_db for point in each) for each in (points, reference))
    highest = min(max(point.similarity_db for point in each) for each in (points, reference))
    at = np.linspace(lowest, highest, 101)
    mean = float(np.exp(np.log(size_at(points, at) / size_at(reference, at)).mean())) if lowest < highest else np.nan
    product = [point for point in reference if point.quality == _PRODUCT_QUALITY]
    here = [size_at(points, np.array([point.similarity_db]))[0] / point.size for point in product]
    return mean, float(here[0]) if here else float("nan")


def measure(atlases: Sequence[Path], folders: Sequence[Path], most: int) -> dict[str, dict[str, list[Point]]]:
    """Curves by set and codec, of so many atlases and pictures of each folder."""
    found: dict[str, dict[str, list[Point]]] = {}
    if atlases:
        chosen = read_atlases(atlases)[:most]
        variants = (
            ("WebP", webp_tile, tile_colours, True, _WEBP_QUALITIES),
            ("WebP + mask codec", webp_colours, tile_colours, False, _WEBP_QUALITIES),
            ("AVIF", avif_tile, file_colours, True, _AVIF_QUALITIES),
            ("AVIF + mask codec", avif_colours, file_colours, False, _AVIF_QUALITIES),
            ("learned", learned_tile, tile_colours, True, _LEARNED_QUALITIES),
        )
        found["atlases"] = {
            name: curve([atlas_coder(atlas, encode, read, with_mask=whole) for atlas in chosen], qualities)
            for name, encode, read, whole, qualities in variants
        }
    for folder in folders:
        pictures = [_middle(read_picture(path)) for path in picture_files([folder])[:most]]
        pictures = [picture for picture in pictures if picture.shape[:2] == (_CROP_PX, _CROP_PX)]
        kinds = (
            ("WebP", "WEBP", _WEBP_QUALITIES),
            ("JPEG", "JPEG", _JPEG_QUALITIES),
            ("AVIF", "AVIF", _AVIF_QUALITIES),
            ("learned", "learned", _LEARNED_QUALITIES),
        )
        found[folder.name] = {
            name: curve([picture_coder(picture, kind) for picture in pictures], qualities)
            for name, kind, qualities in kinds
        }
    return found


def _middle(picture: Image) -> Image:
    top, left = ((side - _CROP_PX) // 2 for side in picture.shape[:2])
    return np.ascontiguousarray(picture[max(top, 0) :, max(left, 0) :][:_CROP_PX, :_CROP_PX])


def print_curves(found: dict[str, dict[str, list[Point]]]) -> None:
    for name, curves in found.items():
        print(f"{name}\n  {'codec':18} quality     bytes  MS-SSIM dB  PSNR dB  encode ms  decode ms")
        for codec, points in curves.items():
            for each in points:
                print(
                    f"  {codec:18} {each.quality:7} {each.size:9.0f} {each.similarity_db:11.2f} {each.psnr_db:8.2f}"
                    f" {each.encode_ms:10.1f} {each.decode_ms:10.1f}"
                )
        for codec, points in curves.items():
            mean, product = ratios(points, curves["WebP"])
            print(f"  {codec:18} bytes / WebP's: {mean:.3f} on average, {product:.3f} at quality {_PRODUCT_QUALITY}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = report.flags("picture_codec", __doc__, 0)
    parser.add_argument("--atlases", type=Path, nargs="+", default=[], metavar="DIR", help="RGBA atlases")
    parser.add_argument("--pictures", type=Path, nargs="+", default=[], metavar="DIR", help="folders of pictures")
    report.add_amount(parser, "--most", "pictures of each set", 24, 2)
    return report.run(parser, _work, arguments)


def _work(options: argparse.Namespace) -> None:
    if not options.atlases and not options.pictures:
        raise UsageError("name --atlases, --pictures or both")
    found = measure(options.atlases, options.pictures, options.most)
    print(f"{report.machine_line()}\n")
    print_curves(found)
    curves = {
        name: {codec: [vars(point) for point in points] for codec, points in own.items()} for name, own in found.items()
    }
    report.write_json(options, {}, curves=curves)


if __name__ == "__main__":
    sys.exit(main())
