"""`sender doctor`: makes the sender's own checks, with its options, and greets the receiver without a session."""

import asyncio
import os
import stat
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from functools import partial

from common.doctor import Check, Doubt, check_expiry, check_free, check_makeable, doctor_program, run_doctor
from common.errors import PeerError, SourceError
from common.text import counted
from sender.config import SenderConfig

_FRAME_TIMEOUT_S = 6.0
_PROGRAM = doctor_program(
    "sender",
    "options, certificates, the camera, the networks, and the way to the receiver",
    (
        ("sender doctor", "check what the sender needs to send the demo clip to a receiver on this machine"),
        (
            "sender doctor --camera 0 --peer 192.168.1.7:50051 --insecure",
            "check the first camera, and the way to a receiver on another machine",
        ),
    ),
)


def main(arguments: Sequence[str]) -> int:
    """Runs the doctor and returns its exit code: 0, or the one that the sender would end with."""
    return run_doctor(_PROGRAM, SenderConfig, _checks, arguments)


def _checks(config: SenderConfig) -> Iterator[Check]:
    yield "options", partial(_options, config)
    # What is wrong with the options themselves is told above.
    for each in config.by_camera():
        yield "source", partial(_source, each, others=len(config.capture.camera) > 1)
        if config.delivery.delivery == "complete":
            yield "spool", partial(_spool, each)
    if config.metrics.metrics is not None:
        yield "metrics", partial(check_free, config.metrics.metrics, "--metrics")
    if not config.only_records:
        yield "peer", partial(_peer, config)
    yield "networks", partial(_networks, config)
    yield "keypoints", partial(_keypoints, config)
    yield "landmarks", partial(_landmarks, config)


def _options(config: SenderConfig) -> str:
    """Also certificates, token and transport."""
    from sender.openings import transport_of

    config.check()
    transport_of(config)
    security, peer = config.security, config.link.peer
    expiry = check_expiry(security.tls_cert, security.tls_key, security.tls_ca)
    if not (config.only_records or peer.is_loopback or security.encrypts(peer)):
        raise Doubt("no certificates: who changes packets on the way can read the frames; see docs/security.md")
    return f"they fit each other; {expiry}"


def _source(config: SenderConfig, *, others: bool) -> str:
    """Opens the source and reads a frame; not of another program's pipe or socket, because the sender would miss it."""
    from sender.capture.open import is_camera

    camera = config.capture.only_camera
    if camera.startswith("socket") or (os.path.exists(camera) and stat.S_ISFIFO(os.stat(camera).st_mode)):
        raise Doubt(f"{camera} is not read, because another program writes to it")
    outcome: Future[str] = Future()
    # A daemon thread: a camera that does not answer must not keep the doctor.
    threading.Thread(target=_describe_into, args=(outcome, config), name="first frame", daemon=True).start()
    try:
        return outcome.result(_FRAME_TIMEOUT_S)
    except TimeoutError as error:
        raise SourceError(
            f"{camera} gives no frame within {_FRAME_TIMEOUT_S:g} s: check that it is on, and that nothing else uses it"
        ) from error
    except SourceError as error:
        if others and is_camera(camera):
            raise Doubt(f"{error}; the sender will send the others, and look for this one") from error
        raise


def _describe_into(outcome: Future[str], config: SenderConfig) -> None:
    from sender.capture.open import open_source

    try:
        with open_source(config.capture.only_camera, config.capture) as source:
            frame = next(iter(source), None)
            if frame is None:
                raise SourceError("the source has no frame")
            outcome.set_result(f"{frame.source}, {frame.camera.width}×{frame.camera.height}")
    except BaseException as error:
        outcome.set_exception(error)


def _spool(config: SenderConfig) -> str:
    from common.weights.manifest import model_hash
    from sender.spool import LOCK_FILE, open_spool

    folder = config.delivery.spool
    # Another folder would get some files.
    if not (folder / LOCK_FILE).exists():
        return f"{folder} is empty" if folder.is_dir() else check_makeable(folder, "--spool")
    with open_spool(config.delivery, config.capture.only_camera, model_hash()) as spool:
        waiting = spool.pending if spool else 0
        frames = counted(waiting, "frame of an earlier run waits", "frames of an earlier run wait")
        return f"{frames} in {folder}, and will be sent first"


def _networks(config: SenderConfig) -> str:
    from common.version import version_line
    from common.weights.devices import resolve_device
    from common.weights.manifest import check_files
    from sender.labelling import Networks

    check_files()
    device = resolve_device(config.device.device)
    perception = Networks.load(config, cameras=len(config.capture.camera)).perception
    most = f"up to {counted(perception.max_people, 'person', 'people')}"
    videos = "every other frame" if perception.reads_videos_fast else "every frame"
    return f"{version_line('sender')}, on {device}: follows {most} of a live camera, reads {videos} of videos"


def _keypoints(config: SenderConfig) -> str:
    from sender.perception.keypoint_fusion import missing_files

    if config.tracking.keypoints == "ours":
        return "our own"
    if missing := missing_files():
        raise Doubt(f"{', '.join(missing)} missing: keypoints are our own, which are less exact; install again")
    return "our own and MoveNet's"


def _landmarks(config: SenderConfig) -> str:
    from common.weights.landmark_networks import NAMES, load_network

    missing = [name for name in NAMES if load_network(name) is None]
    if missing:
        raise Doubt(
            f"{', '.join(missing)} missing: no faces and fingers; install again where pip finds mediapipe 0.10.21"
        )
    pictures = "are sent where the link has room" if config.appearance.face_picture else "are not sent"
    return f"MediaPipe's networks read faces and fingers; live pictures of faces {pictures}"


def _peer(config: SenderConfig) -> str:
    from common.weights.manifest import model_hash
    from sender.link.connector import greet
    from sender.openings import transport_of

    link = config.link
    try:
        way = asyncio.run(greet(transport_of(config), link.peer, model_hash(), link.connect_timeout))
    except PeerError as error:
        if config.delivery.delivery == "complete":
            raise Doubt(f"{error}; the sender will wait") from error
        raise
    if way == "gRPC" and link.transport == "auto":
        way = "gRPC (more bytes: no QUIC answers, because of a firewall, a tunnel or --no-quic)"
    return f"the receiver at {link.peer} takes this sender over {way}, and has the same networks, codec and protocol"
