"""`receiver doctor`: makes the receiver's own checks, with its options, without taking senders."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import partial

from common.doctor import Check, Doubt, check_expiry, check_free, check_makeable, doctor_program, run_doctor
from common.text import counted
from receiver.config import ReceiverConfig

_PROGRAM = doctor_program(
    "receiver",
    "options, certificates, addresses, the output directory, where motion goes, and the networks",
    (
        ("receiver doctor", "check what the receiver needs to take senders on this machine"),
        (
            "receiver doctor --listen 0.0.0.0:50051 --insecure --out meshes",
            "check the address for other machines, and the directory meshes",
        ),
    ),
)


def main(arguments: Sequence[str]) -> int:
    """Runs the doctor and returns its exit code: 0, or the one that the receiver would end with."""
    return run_doctor(_PROGRAM, ReceiverConfig, _checks, arguments)


def _checks(config: ReceiverConfig) -> Iterator[Check]:
    yield "options", partial(_options, config)
    yield "files", partial(_files, config)
    yield "listen", partial(_listen, config)
    yield "page", partial(_page, config)
    if config.metrics.metrics is not None:
        yield "metrics", partial(check_free, config.metrics.metrics, "--metrics")
    yield "output", partial(_output, config)
    if config.vmc.addresses:
        yield "motion", partial(_motion, config)
    yield "networks", partial(_networks, config)


def _options(config: ReceiverConfig) -> str:
    """Also certificates, tokens, and whether the page and `--engine` can be had."""
    from receiver.link.auth.tokens import TokenFile

    config.check()
    security = config.security
    if security.tokens is not None:
        TokenFile(security.tokens)
    expiry = check_expiry(security.tls_cert, security.tls_key, security.tls_ca)
    if config.listen.listen.is_loopback:
        return f"they fit each other; this machine only; {expiry}"
    if security.tls_cert is None:
        raise Doubt("who changes packets on the way can read the frames: give certificates; see docs/security.md")
    if security.tokens is None and security.tls_ca is None:
        raise Doubt("everybody who reaches this machine can send: give --tokens or --tls-ca")
    return f"they fit each other; {expiry}"


def _files(config: ReceiverConfig) -> str:
    from receiver.ports import limits_of

    limits = limits_of(config)
    if not limits.enough:
        raise Doubt(str(limits))
    return str(limits)


def _listen(config: ReceiverConfig) -> str:
    from receiver.ports import LinkPorts

    LinkPorts(config.listen).close()
    return f"{config.listen.listen} is free"


def _output(config: ReceiverConfig) -> str:
    from receiver.publish.files import free_and_size_bytes
    from receiver.publish.session_directory import SessionDirectory

    out = config.publish.out
    if not out.exists():
        return check_makeable(out, "--out")
    free_bytes, _ = free_and_size_bytes(out)
    # A directory without sessions would get some files.
    with SessionDirectory(config.publish) if (out / "frames.jsonl").exists() else nullcontext():
        return f"{out} can be used, {free_bytes / 1e9:.1f} GB free"


def _page(config: ReceiverConfig) -> str:
    from receiver.web.app import check_built

    if not config.web.page:
        return "not served (--no-page)"
    check_built()
    if config.web.http is None:
        return f"on {config.web.address}, or on a free port if that one is taken"
    return check_free(config.web.http, "--http")


def _motion(config: ReceiverConfig) -> str:
    from receiver.vmc.motion_sender import failure, probed

    found, failed = [], []
    for address in config.vmc.addresses:
        try:
            found.append(f"--vmc {address} leads to {probed(address)}")
        except OSError as error:
            failed.append(failure(address, error))
    if failed:
        # The receiver runs without, and tries again.
        raise Doubt("; ".join(failed))
    return "; ".join(found)


def _networks(config: ReceiverConfig) -> str:
    from common.weights.manifest import check_files

    check_files()
    engine = config.engine
    if engine.kind == "local":
        from common.version import version_line
        from common.weights.devices import resolve_device
        from receiver.engine.reconstructor import Reconstructor

        device = resolve_device(config.device.device)
        Reconstructor.load(config.surface, device)
        return f"{version_line('receiver')}, on {device}"
    from receiver.config import reach
    from receiver.engine.cluster import check_cores, require_ray

    check_cores(engine)
    version = require_ray().__version__
    if engine.address is None:
        return f"Ray {version} on this machine, {counted(engine.most_replicas, 'replica')} at most"
    reach(engine.address)
    return f"Ray {version}, a cluster answers at {engine.address}"
