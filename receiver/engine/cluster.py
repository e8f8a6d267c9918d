"""The pool on Ray Serve: starts or joins a Ray cluster, and deploys the replicas in it.

Serve places replicas, checks their health, starts them again, and changes their number with the load. The first
receiver of a cluster deploys the pool, others use it; it stays when they leave. A cluster on this machine ends with the
receiver that started it.
"""

import asyncio
import logging
import os
import re
import secrets
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from common.errors import OutputError, PeerError, UsageError
from common.io.files import PrivateFolder, atomic_write
from common.text import counted
from common.weights.threads import available_cores
from receiver.config import EngineConfig, reach
from receiver.engine.pool import BATCHES_PER_REPLICA, BatchDone, PersonWork, PoolFacts, PoolFull, Reference, ReplicaLost
from receiver.engine.replica import Replica, ReplicaSettings

logger = logging.getLogger(__name__)

APPLICATION, DEPLOYMENT = "bodywire", "people"
_LOOPBACK = "127.0.0.1"
_START_TIMEOUT_S, _START_POLL_S, _START_REPORT_S = 600.0, 0.2, 15.0
_FACTS_TIMEOUT_S = 60.0
_HEALTH_CHECK_S, _SHUTDOWN_S = 2.0, 10.0
_START_ATTEMPTS = 3
_MAX_MESSAGE_CHARACTERS = 300
_ERROR_LINE = re.compile(r"[A-Za-z_.]*(Error|Exception|Missing|Mismatch)\b.*: ")


def require_ray() -> Any:
    """The module `ray`, with Serve. Raises UsageError if it is not installed."""
    # Ray reads these when it is imported: it reports nothing to its makers, and replicas do not yield to other programs
    # of the machine more than the receiver does.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")
    # Its processes reach each other on the loopback by gRPC, which would go through an HTTP proxy of the environment.
    excepted = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    os.environ["no_proxy"] = ",".join(filter(None, (excepted, "localhost", _LOOPBACK, "::1")))
    records = logging.getLogRecordFactory()
    try:
        import ray
        import ray.serve
    except ImportError as error:
        raise UsageError(f"--engine ray needs Ray Serve: pip install 'bodywire[ray]' ({error})") from error
    # Ray adds a field to every line of the receiver's log, here or where it was imported before.
    imported_before = records.__module__.startswith("ray.")
    logging.setLogRecordFactory(logging.LogRecord if imported_before else records)
    for name in ("ray", "ray.serve"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return ray


class RayPool:
    """A `Pool` of Serve's replicas, of which there may be `most_replicas`; `open_pool` makes one."""

    def __init__(self, ray: Any, handle: Any, facts: PoolFacts, most_replicas: int) -> None:
        self._ray = ray
        self._handle = handle
        self.facts = facts
        self.most_replicas = most_replicas
        self._replicas = 0
        errors = ray.exceptions
        self._losses: tuple[type[Exception], ...] = (
            *(errors.RayActorError, errors.WorkerCrashedError, errors.NodeDiedError, errors.ObjectLostError),
            *(errors.OutOfMemoryError, ray.serve.exceptions.DeploymentUnavailableError),
            ray.serve.exceptions.ReplicaUnavailableError,
        )

    def share(self, value: object) -> Reference:
        """See `Pool.share`: in the object store, from where each machine fetches it once."""
        reference: Reference = self._ray.put(value)
        return reference

    async def reconstruct(self, batch: Sequence[PersonWork]) -> BatchDone:
        try:
            done: BatchDone = await self._handle.reconstruct.remote(batch)
        except self._ray.serve.exceptions.BackPressureError as error:
            raise PoolFull("too many batches wait for the pool") from error
        except self._losses as error:
            raise ReplicaLost(_first_line(error)) from error
        return done

    async def replicas(self) -> int:
        """See `Pool.replicas`; the last number while the cluster does not answer."""
        try:
            self._replicas = await asyncio.to_thread(lambda: running_replicas(self._ray))
        except Exception as error:  # Ray raises RuntimeError, RayError, RpcError and others
            logger.debug("the Ray cluster does not say how many replicas run: %s", error)
        return self._replicas


@contextmanager
def open_pool(config: EngineConfig, settings: ReplicaSettings) -> Iterator[RayPool]:
    """A pool whose replicas are ready, for the time of a `with` block; call it in the main thread.

    Raises:
        UsageError: Ray is not installed, the machine is too small for the replicas, or a pool that is there has other
            networks or options.
        PeerError: the cluster cannot be reached, or its replicas do not start.
        OutputError: no temporary files can be written for a cluster on this machine.
    """
    check_cores(config)
    with ExitStack() as opened:
        own = None if config.address else opened.enter_context(_own_cluster())
        ray = require_ray()
        opened.enter_context(_connected(ray, config, own))
        handle = _deployed(ray, config, settings)
        _wait_for_replica(ray)
        try:
            facts: PoolFacts = handle.facts.remote().result(timeout_s=_FACTS_TIMEOUT_S)
        except Exception as error:
            raise PeerError(f"no replica of the pool answers: {_first_line(error)}") from error
        if facts.build != settings.build:
            raise UsageError(
                f"the pool at {config.address} has other networks or options: it has {facts.build}; this receiver has "
                f"{settings.build}; give both the same, or end the pool with: serve shutdown"
            )
        yield RayPool(ray, handle, facts, config.most_replicas)


def running_replicas(ray: Any) -> int:
    """How many replicas take batches; 0 if there is no pool. Raises Exception if the cluster does not answer."""
    application = ray.serve.status().applications.get(APPLICATION)
    if application is None or DEPLOYMENT not in application.deployments:
        return 0
    return int(application.deployments[DEPLOYMENT].replica_states.get("RUNNING", 0))


def check_cores(config: EngineConfig) -> None:
    """Raises UsageError if this machine cannot hold the replicas; a cluster elsewhere may get more machines."""
    cores = available_cores()
    wanted = config.most_replicas * config.replica_cpus
    if config.address is None and wanted > cores:
        of_cores = f"of {config.replica_cpus:g} cores"
        replicas = counted(config.most_replicas, f"replica {of_cores} needs", f"replicas {of_cores} need")
        raise UsageError(
            f"{replicas} {wanted:g} cores, this machine has {cores}: give fewer --replicas, or less --replica-cpus"
        )


@contextmanager
def _own_cluster() -> Iterator[dict[str, Any]]:
    """The arguments of a cluster on this machine, which only this user reaches; call before Ray is imported.

    It listens on the loopback, and demands a token that lies, as its sessions do, in a private folder.
    """
    try:
        folder = PrivateFolder()
    except OSError as error:
        raise OutputError(f"cannot write temporary files: {error.strerror}; set TMPDIR to another folder") from error
    try:
        token = folder.path / "token"
        atomic_write(token, secrets.token_hex(32).encode(), mode=0o600)
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        os.environ.pop("RAY_AUTH_TOKEN", None)
        # Otherwise Ray takes an address that other machines reach in place of the loopback's, on Linux too.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        # Ray lets everybody into its folders, but not through the one around them.
        yield {"_node_ip_address": _LOOPBACK, "_temp_dir": str(folder.path / "ray"), "include_dashboard": False}
    finally:
        folder.remove()


@contextmanager
def _connected(ray: Any, config: EngineConfig, own: Mapping[str, Any] | None) -> Iterator[None]:
    """Connects this process to a cluster, which it starts with the arguments `own` if the options name none."""
    address = config.address
    if address is not None:
        reach(address)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=str(address) if address else "local",
            namespace=APPLICATION,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **(own or {}),
        )
    except Exception as error:  # Ray raises ConnectionError, RuntimeError, ValueError and others
        where = f"join the Ray cluster at {address}" if address else "start Ray on this machine"
        raise PeerError(f"cannot {where}: {_first_line(error)}") from error
    finally:
        # Ray ends the process on this signal; the receiver finishes its frames first.
        signal.signal(signal.SIGTERM, handler)
    try:
        ray.serve.start(proxy_location="Disabled")
        yield
    finally:
        # Ends a cluster that this process has started, with its pool.
        ray.shutdown()


def _deployed(ray: Any, config: EngineConfig, settings: ReplicaSettings) -> Any:
    """The handle of the pool, which is deployed if the cluster has none."""
    serve = ray.serve
    known = serve.status().applications.get(APPLICATION)
    if known is not None and known.status in ("RUNNING", "DEPLOYING", "UNHEALTHY"):
        logger.info("the cluster has a pool: options of replicas are those of the receiver that deployed it")
        return serve.get_app_handle(APPLICATION)
    number: dict[str, Any] = {"num_replicas": config.least_replicas}
    if config.most_replicas > config.least_replicas:
        least, most = config.least_replicas, config.most_replicas
        scaling = {"min_replicas": least, "max_replicas": most, "target_ongoing_requests": 1}
        number = {"num_replicas": "auto", "autoscaling_config": scaling}
    deployment = serve.deployment(
        Replica,
        name=DEPLOYMENT,
        max_ongoing_requests=BATCHES_PER_REPLICA,
        max_queued_requests=BATCHES_PER_REPLICA * (config.most_replicas + 1),
        ray_actor_options={"num_cpus": config.replica_cpus, "num_gpus": config.replica_gpus},
        health_check_period_s=_HEALTH_CHECK_S,
        graceful_shutdown_timeout_s=_SHUTDOWN_S,
        max_constructor_retry_count=_START_ATTEMPTS * config.least_replicas,
        logging_config={"enable_access_log": False},
        **number,
    )
    target = serve.RunTarget(deployment.bind(settings), name=APPLICATION, route_prefix=None)
    return serve.run_many([target], wait_for_applications_running=False)[0]


def _wait_for_replica(ray: Any) -> None:
    """Waits until a replica has loaded its networks. Raises PeerError if Serve has given up, or it takes too long."""
    began_s = reported_s = time.monotonic()
    while not running_replicas(ray):
        status = ray.serve.status().applications.get(APPLICATION)
        state = "missing" if status is None else str(status.status.value)
        message = "" if status is None else " ".join(each.message for each in status.deployments.values())
        now_s = time.monotonic()
        if state in ("DEPLOY_FAILED", "missing", "DELETING") or now_s - began_s > _START_TIMEOUT_S:
            raise PeerError(f"the replicas of the pool do not start: {_cause(message) or state}")
        if now_s - reported_s > _START_REPORT_S:
            reported_s = now_s
            logger.warning("waiting for a replica of the pool: %s", _cause(message) or state)
        time.sleep(_START_POLL_S)


def _cause(message: str) -> str:
    """What Serve says about a deployment in one line: of a traceback, the error itself."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR_LINE.match(line)]
    return (errors or lines or [""])[-1][:_MAX_MESSAGE_CHARACTERS]


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].strip()[:_MAX_MESSAGE_CHARACTERS]
