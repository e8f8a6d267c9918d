"""Wires the receiver's components from its configuration."""

import asyncio
import logging
from asyncio.subprocess import Process
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from common.codec.packet import CODEC_VERSION
from common.errors import WeightsError
from common.io.addresses import Address
from common.io.startup import freeze_garbage, stop_on_signals
from common.io.tasks import cancel
from common.motion.label_track import Continued
from common.motion.network import LearnedMotion
from common.version import package_version
from common.weights.devices import resolve_device
from common.weights.manifest import model_hash
from common.weights.threads import limit_threads
from receiver.config import ReceiverConfig
from receiver.engine.cluster import open_pool
from receiver.engine.pool import PoolEngine
from receiver.engine.reconstructor import LocalEngine, Reconstructor
from receiver.engine.replica import ReplicaSettings
from receiver.link.server import LinkServer
from receiver.link.session import LiveLoad
from receiver.mesh.limbs import limbs_of_vertices
from receiver.metrics import ReceiverMetrics
from receiver.motion.hidden import load_completion
from receiver.motion.playout import PlayoutBuffer
from receiver.motion.session_motion import SessionMotion
from receiver.openings import Openings
from receiver.pipeline import ReceiverPipeline
from receiver.ports import startup_line
from receiver.publish.retention import keep_within_limits
from receiver.publish.session_directory import SessionDirectory
from receiver.recorder import FileRecorder
from receiver.replay import Replay
from receiver.vmc.motion_sender import Bones, MotionSender
from receiver.web.live.hub import LiveHub, LivePoses

if TYPE_CHECKING:
    from receiver.web.server import WebServer


logger = logging.getLogger(__name__)


def receive(
    config: ReceiverConfig,
    opened: Openings,
    announce: Callable[[str], None],
    runner: asyncio.Runner,
    waiting: Process | None,
) -> None:
    """Receives until SIGTERM, SIGINT or SIGHUP, or until the replayed recording ends; then finishes the frames in hand.

    While the networks are loaded, or a pool starts, SIGTERM ends the process at once, and SIGINT raises
    KeyboardInterrupt.

    Args:
        announce: prints the line with the address, and the first and last line of a replay.
        runner: of the event loop.
        waiting: a sender process for pictures, if one has been started.

    Raises:
        UsageError: a certificate or key cannot be used, or `--engine ray` lacks its package.
        PeerError: the cluster of `--engine` cannot be reached, or the replicas do not start.
        OutputError: no recording can be created.
        WeightsError: trained weights are of another version.
    """
    limit_threads()
    with _engine(config, opened.metrics) as engine:
        runner.run(_serve(config, opened, engine, announce, waiting))


@contextmanager
def _engine(config: ReceiverConfig, metrics: ReceiverMetrics) -> "Iterator[LocalEngine | PoolEngine]":
    """The engine that the options name; a local one is not prepared."""
    metrics.engine_started(config.engine.kind)
    if config.engine.kind == "local":
        device = resolve_device(config.device.device)
        reconstructor = Reconstructor.load(config.surface, device, prepared=False)
        yield LocalEngine(reconstructor, observer=metrics)
        return
    threads = max(int(config.engine.replica_cpus), 1)
    settings = ReplicaSettings(config.surface, config.engine.replica_device, threads)
    with open_pool(config.engine, settings) as pool:
        yield PoolEngine(pool, observer=metrics)


async def _serve(
    config: ReceiverConfig,
    opened: Openings,
    engine: LocalEngine | PoolEngine,
    announce: Callable[[str], None],
    waiting: Process | None,
) -> None:
    directory, recording, metrics, limits = opened.directory, opened.recording, opened.metrics, opened.limits
    stop = asyncio.Event()
    stop_on_signals(stop)
    load = LiveLoad()
    if isinstance(engine, PoolEngine):
        await engine.start()
        load = LiveLoad(engine.capacity)
    hub, recorders = LiveHub(limbs=limbs_of_vertices(engine.skeleton)), list[FileRecorder]()
    if config.recording.record is not None:
        model, version = model_hash().hex(), package_version()
        recorders.append(FileRecorder(config.recording, codec=CODEC_VERSION, model=model, version=version))
    playout = PlayoutBuffer(config.playout)
    motion = _motion(config, engine, playout)
    pipeline = ReceiverPipeline(
        engine,
        directory,
        metrics,
        observers=[playout, hub, *recorders, *([] if motion is None else [motion])],
        load=load,
        new_motion=partial(SessionMotion, load_completion(config.motion.motion), playout.continued),
    )
    metrics.watch_queue(lambda: engine.queued_people)
    logger.log(logging.INFO if limits.enough else logging.WARNING, "%s", limits)
    link = _link(config, opened, pipeline, load)
    replay = None
    if recording is not None:
        replay = Replay(recording, config.replay, pipeline, announce)
    background = _background(config, directory, playout, LivePoses(hub, playout, pipeline.pose))
    if motion is not None:
        motion.start()
    try:
        address = await link.start()
        announce(startup_line(address, config.security) if replay is None else await replay.start())
        # Senders connect meanwhile, which takes longer.
        importing = asyncio.to_thread(_page, config, opened, engine, link, hub, waiting)
        # A pool has started already.
        preparing = engine.prepare() if isinstance(engine, LocalEngine) else asyncio.sleep(0)
        serving_page, _ = await asyncio.gather(importing, preparing)
        freeze_garbage()
        async with serving_page(address if replay is None else None) as page:
            if page is not None:
                announce(f"page: {page.url}")
            await (stop.wait() if replay is None else replay.run(stop))
    finally:
        await cancel(background)
        if motion is not None:
            motion.close()
        await link.stop()
        await pipeline.close()
        for recorder in recorders:
            await asyncio.to_thread(recorder.close)


def _background(
    config: ReceiverConfig, directory: SessionDirectory, playout: PlayoutBuffer, poses: LivePoses
) -> list[asyncio.Task[None]]:
    """What runs beside the link."""
    endless = {"retention": keep_within_limits(directory)}
    if config.playout.playout != "off":
        endless |= {"motion network": _learn(playout.continued), "poses": poses.run()}
    tasks = [asyncio.create_task(each, name=name) for name, each in endless.items()]
    for task in tasks:
        task.add_done_callback(_report)
    return tasks


def _report(task: asyncio.Task[None]) -> None:
    """Tells of an error that ended what runs in the background: nobody waits for it."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("%s ended: %s", task.get_name(), error, exc_info=error)


async def _learn(continued: Continued) -> None:
    """Loads the motion network beside everything else: motion is extrapolated until then."""
    try:
        continued.predictor = await asyncio.to_thread(LearnedMotion.load)
    except WeightsError as error:
        logger.error("%s; people are shown as their last movement goes on", error)


def _motion(config: ReceiverConfig, engine: LocalEngine | PoolEngine, playout: PlayoutBuffer) -> MotionSender | None:
    if not config.vmc.addresses:
        return None
    played = None if config.playout.playout == "off" else (playout.view(), Bones.load())
    return MotionSender(config.vmc.addresses, engine.skeleton, played=played)


def _link(config: ReceiverConfig, opened: Openings, pipeline: ReceiverPipeline, load: LiveLoad) -> LinkServer:
    """The server that senders connect to; beside a replay, only those of the receiver's own."""
    networks, metrics = model_hash(), opened.metrics
    link = LinkServer(
        config.listen,
        pipeline,
        model_hash=networks,
        codec_version=CODEC_VERSION,
        security=config.security,
        on_refused=metrics.stream_refused,
        admit_live=load.admit,
        most_connections=opened.limits.senders,
        ports=opened.ports,
        public=opened.recording is None,
    )
    metrics.watch_streams(lambda: sum(session.in_use for session in link.sessions))
    return link


def _page(
    config: ReceiverConfig,
    opened: Openings,
    engine: LocalEngine | PoolEngine,
    link: LinkServer,
    hub: LiveHub,
    waiting: Process | None,
) -> "Callable[[Address | None], AbstractAsyncContextManager[WebServer | None]]":
    """Serves the web page, unless it is switched off; takes the address that senders reach."""
    if not config.web.page:
        return lambda _: nullcontext()
    # Imported here: `--help`, the doctor and `--no-page` need not wait for the web server and its libraries.
    from receiver.web.composition import serve_page

    return partial(serve_page, config, opened, engine.skeleton, link, hub, waiting)
