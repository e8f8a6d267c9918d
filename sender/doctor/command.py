"""`sender doctor`: checks, with the options of the sender, whatever the sender is going to need."""

from collections.abc import Iterator, Sequence

from common.doctor.finding import Check, named
from common.doctor.run import DoctorProgram, run_doctor


def main(arguments: Sequence[str]) -> int:
    """Runs the doctor and returns its exit code: 0, or the one that the sender would end with."""
    return run_doctor(_PROGRAM, _checks, arguments)


_PROGRAM = DoctorProgram(
    "sender",
    "the installation, the machine, the camera, the preview, and the way to the receiver",
    (
        ("sender doctor", "check what the sender needs to send the demo clip to a receiver on this machine"),
        (
            "sender doctor --camera 0 --peer 192.168.1.7:50051 --insecure",
            "check the first camera, and the way to a receiver on another machine",
        ),
    ),
)


def _checks(arguments: Sequence[str]) -> Iterator[tuple[str, Check]]:
    """The checks of a configuration, in the order in which the sender would come upon the problems.

    Raises:
        UsageError: the configuration is wrong.
    """
    # Imported here, after the checks of the packages; what needs the networks' library, after the flags are read.
    from common.io.configuration import read_config
    from sender.config import SenderConfig

    config = read_config(SenderConfig, _PROGRAM.command_line, arguments)

    from common.doctor import machine, networks
    from common.doctor.certificates import check_certificates
    from common.doctor.storage import check_address_free
    from common.weights.manifest import model_hash
    from sender.doctor import camera, peer, people, spool
    from sender.link.transport.transport import Transport

    security, targets = config.security, config.link.peer.each
    yield named("processors", machine.check_processors)
    yield named("memory", machine.check_memory)
    yield named("clock", machine.check_clock)
    yield named("egl", machine.check_egl)
    yield named("certificates", check_certificates, security.tls_cert, security.tls_key, security.tls_ca)
    for address in targets:
        yield named("token", peer.check_token, security, address)
    yield named("weights", networks.check_weights)
    yield named("versions", networks.check_versions, "sender")
    yield named("device", networks.check_device, config.device)
    yield named("people", people.check_people, config.tracking, config.device)
    yield named("cameras", camera.check_devices)
    yield named("source", camera.check_source, config.capture)
    yield named("spool", spool.check_spool, config.delivery, config.capture.camera, model_hash())
    if config.metrics.metrics is not None:
        yield named("metrics", check_address_free, "metrics", config.metrics.metrics, "--metrics")
    yield named("preview", camera.check_preview, config.preview.preview, config.capture.camera)
    if config.only_records:
        return
    for address in targets:
        reached = peer.PeerUnderTest(
            address,
            Transport(security),
            model_hash(),
            waits_for_receiver=config.delivery.delivery == "complete",
            has_token=security.token_file is not None,
        )
        yield named("peer", peer.check_peer, reached)
