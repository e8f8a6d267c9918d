"""Rate control: how coarsely to encode each label group, given the state of the link."""

from sender.congestion.samples import LinkSample
from sender.rate.controller import RateController, RateState
from sender.rate.policy import RateConfig

__all__ = ["LinkSample", "RateConfig", "RateController", "RateState"]
