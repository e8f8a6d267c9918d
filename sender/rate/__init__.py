"""How much to compress: estimators of the link, fed with times, and the policies that turn them into ρ."""

from sender.congestion.samples import LinkSample
from sender.rate.controller import RateController, RateState
from sender.rate.policy import RateConfig

__all__ = ["LinkSample", "RateConfig", "RateController", "RateState"]
