"""What must agree between a sender and a receiver, as `--version` shows it."""

from importlib.metadata import PackageNotFoundError, version

from common.codec.packet import CODEC_VERSION
from common.weights.manifest import model_hash
from common.wire.convert import PROTOCOL_VERSION


def package_version() -> str:
    """The version of the installed package."""
    try:
        return version("bodywire")
    except PackageNotFoundError:
        return "(not installed)"


def build_versions() -> dict[str, str]:
    """The versions of package, weights, codec and protocol, by these names.

    Raises:
        WeightsError: the label space or the tables of the codec are damaged.
    """
    return {
        "version": package_version(),
        "weights": model_hash().hex(),
        "codec": str(CODEC_VERSION),
        "protocol": str(PROTOCOL_VERSION),
    }


def version_line(program: str) -> str:
    """`sender 0.1.0 (weights 1a2b3c4d5e6f7a8b, codec 1, protocol 1)`.

    Raises:
        WeightsError: the label space or the tables of the codec are damaged.
    """
    build = build_versions()
    return (
        f"{program} {build['version']} "
        f"(weights {build['weights']}, codec {build['codec']}, protocol {build['protocol']})"
    )
