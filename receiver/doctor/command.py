"""`receiver doctor`: checks, with the options of the receiver, whatever the receiver is going to need."""

from collections.abc import Iterator, Sequence

from common.doctor.finding import Check, named
from common.doctor.run import DoctorProgram, run_doctor


def main(arguments: Sequence[str]) -> int:
    """Runs the doctor and returns its exit code: 0, or the one that the receiver would end with."""
    return run_doctor(_PROGRAM, _checks, arguments)


_PROGRAM = DoctorProgram(
    "receiver",
    "the installation, the machine, addresses, certificates, and the output directory",
    (
        ("receiver doctor", "check what the receiver needs to take senders on this machine"),
        (
            "receiver doctor --listen 0.0.0.0:50051 --insecure --out meshes",
            "check the address for other machines, and the directory meshes",
        ),
    ),
)


def _checks(arguments: Sequence[str]) -> Iterator[tuple[str, Check]]:
    """The checks in the order in which the receiver would come upon the problems. Raises UsageError for its options."""
    # Imported here, after the checks of the packages; what needs the networks' library, after the flags are read.
    from common.io.configuration import read_config
    from receiver.config import ReceiverConfig

    config = read_config(ReceiverConfig, _PROGRAM.command_line, arguments)

    from common.doctor import machine, networks
    from common.doctor.certificates import check_certificates
    from common.doctor.storage import check_address_free
    from receiver.doctor import checks

    security, listen = config.security, config.listen.listen
    yield named("processors", machine.check_processors)
    yield named("memory", machine.check_memory)
    yield named("clock", machine.check_clock)
    yield named("egl", machine.check_egl)
    yield named("certificates", check_certificates, security.tls_cert, security.tls_key, security.tls_ca)
    yield named("admission", checks.check_admission, security, listen)
    yield named("output", checks.check_output, config.publish)
    yield named("disk", checks.check_disk, config.publish)
    yield named("sessions", checks.check_retention, config.publish)
    if config.metrics.metrics is not None:
        yield named("metrics", check_address_free, "metrics", config.metrics.metrics, "--metrics")
    yield named("page", checks.check_page, config.web, security)
    yield named("weights", networks.check_weights)
    yield named("versions", networks.check_versions, "receiver")
    if config.engine.kind == "local":
        yield named("device", networks.check_device, config.device)
    yield named("engine", checks.check_engine, config.engine, config.device)
    yield named("listen", check_address_free, "listen", listen, "--listen")
