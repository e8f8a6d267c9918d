"""How much to compress: estimators of the link, fed with times, and the policies that turn them into ρ."""

from sender.rate.controller import RateController, RateState
from sender.rate.policy import RateConfiguration
from sender.rate.sample import LinkSample

__all__ = ["LinkSample", "RateConfiguration", "RateController", "RateState"]
