"""People of pictures and cameras as meshes, in this process: no network, no files.

    from bodywire import reconstruct, stream

    for person in reconstruct("photo.jpg"):
        person.surface.export(f"{person.identity}.glb")
    for people in stream(0):
        print(people.time_s, [person.joints_3d for person in people])

The networks of both daemons are loaded by the first call, which takes seconds, and kept.  Threads may call at once.
A process that is forked after a call cannot use them: start it by `spawn`, or call first in it.
Every error of a file, a camera or this installation is a `BodywireError`.
"""

import os
import time
from collections.abc import Iterator

from bodywire import loading
from bodywire.people import People, Person
from bodywire.pictures import PictureLike, read_picture
from common.errors import BodywireError, ForkError, SourceError, WeightsError
from common.forks import keep_in_forks
from sender.capture.open import open_source
from sender.capture.source import CapturedFrame, camera_of
from sender.config import CaptureConfig, SenderConfig, TrackingConfig
from sender.playback import has_time

__all__ = ["BodywireError", "ForkError", "People", "Person", "SourceError", "WeightsError", "reconstruct", "stream"]


def reconstruct(picture: PictureLike, *, max_people: int | None = None, focal_px: float | None = None) -> People:
    """The people of one picture.

    Args:
        picture: path or content of an image file; a Pillow image; or an upright array of uint8: (H, W) or (H, W, 1)
            grey, (H, W, 3) RGB, or (H, W, 4) RGBA. What is transparent is seen over white.
        max_people: most people, 1 to 32; by default up to 8, nobody less than 0.4 times as tall as the tallest.
        focal_px: focal length of the camera in pixels; by default that of the file's EXIF data, or a guess.

    Returns:
        most prominent first; empty if nobody is found.

    Raises:
        SourceError: the file is missing, damaged, too large, or no image.
        ForkError: this process was forked from one that had called before.
        WeightsError: trained weights of this installation are missing or damaged.
        ValueError: an array of another shape or type, or another number is out of its range.
        TypeError: it is no picture.
    """
    config = _config(max_people, focal_px)
    name, read = read_picture(picture)
    camera = camera_of(read.image, focal_px or read.focal_px)
    frame = CapturedFrame(0, name, time.time(), 0.0, read.image, camera)
    return next(loading.loaded().session(config, stills=True).people([frame]))


def stream(
    camera: int | str | os.PathLike[str], *, max_people: int | None = None, focal_px: float | None = None
) -> Iterator[People]:
    """The people of a source's frames, one after the other; of a live camera's, those of the newest frame.

    Frames of a video are estimated by those of the next quarter of a second, too, for which they wait.

    The source is opened by the first `next`, and closed when the iterator ends or is closed.

    Args:
        camera: number of a camera, a video, an image, a folder or glob of images, `rtsp://` address, or `demo`: as
            `sender --camera` takes them.
        max_people, focal_px: as for `reconstruct`; of a live camera, as many people as this machine carries, up to 4.

    Yields:
        the people of a frame, with identities that stay within a video or camera; none where nobody is found.

    Raises:
        SourceError: the source is missing, empty, or was lost.
        ForkError, WeightsError, ValueError, TypeError: as `reconstruct`.
    """
    config = _config(max_people, focal_px)
    if not isinstance(camera, int | str | os.PathLike):
        kind = type(camera).__name__
        raise TypeError(f"a source is the number of a camera, a path or an address, not {kind}: see reconstruct")
    name = str(int(camera)) if isinstance(camera, int) else os.fspath(camera)
    process = loading.begin()
    source = keep_in_forks(open_source(name, config.capture))
    frames = keep_in_forks(iter(source))
    try:
        ends = loading.loaded().session(config, stills=source.stills, brief=source.brief, live=source.live)
        for people in ends.people(frames, waits=has_time(source, realtime=False)):
            yield people
            loading.begin()
    finally:
        if not process.inherits:
            source.close()


def _config(max_people: int | None, focal_px: float | None) -> SenderConfig:
    return SenderConfig(capture=CaptureConfig(focal_px=focal_px), tracking=TrackingConfig(max_people))
