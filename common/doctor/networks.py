"""Checks of the trained networks and of the device that they run on."""

from pathlib import Path

import torch

from common.doctor.finding import Finding, ok, problem
from common.errors import WeightsError
from common.version import version_line
from common.weights.config import DeviceConfig
from common.weights.devices import fast_in_bf16, int8_weight_bits, resolve_device
from common.weights.inference import runtime
from common.weights.manifest import WEIGHTS_DIRECTORY, damaged_files, read_manifest

_GIGABYTE = 1e9


def check_weights(directory: Path = WEIGHTS_DIRECTORY) -> Finding:
    """Whether each file of the manifest is there with its checksum; raises WeightsError without a manifest."""
    if faults := damaged_files(directory):
        return problem("weights", "; ".join(faults), "reinstall bodywire", WeightsError)
    sizes = [(directory / entry.file).stat().st_size for entry in read_manifest(directory).values()]
    return ok("weights", f"{len(sizes)} files, {sum(sizes) / 1e6:.0f} MB, checksums match")


def check_versions(program: str) -> Finding:
    """What must agree between a sender and a receiver; raises WeightsError."""
    return ok("versions", version_line(program))


def check_device(config: DeviceConfig) -> Finding:
    """Which device the networks run on; raises UsageError if this machine lacks it."""
    device = resolve_device(config.device)
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return ok("device", f"{device}: {properties.name}, {properties.total_memory / _GIGABYTE:.0f} GB")
    precision = ("int8 and " if int8_weight_bits() else "") + ("bf16" if fast_in_bf16() else "float32")
    return ok("device", f"the CPU by {runtime(device)}, fastest in {precision}, one thread for the networks")
