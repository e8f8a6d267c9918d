"""How many people this machine can follow."""

from common.doctor.finding import Finding, ok
from common.weights.config import DeviceConfig
from common.weights.devices import resolve_device
from sender.perception.capacity import people_carried
from sender.perception.config import TrackingConfig
from sender.perception.inference.predictor import Perception


def check_people(tracking: TrackingConfig, device: DeviceConfig) -> Finding:
    """Most people of a live camera, by `--max-people` or as measured; raises UsageError or WeightsError."""
    if tracking.max_people is not None:
        return ok("people", f"follows up to {tracking.max_people} (--max-people)")
    people = people_carried(Perception.load(device=resolve_device(device.device)))
    return ok("people", f"this machine follows up to {people} of a live camera; --max-people sets another limit")
