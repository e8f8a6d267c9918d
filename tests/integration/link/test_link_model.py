"""Sessions over a network that does what it likes; `tests.bench.sessions` plays many more of them."""

from hypothesis import HealthCheck, settings

from tests.netlab.link_model import LinkModel

TestLinkModel = LinkModel.TestCase
TestLinkModel.settings = settings(
    max_examples=12,
    stateful_step_count=40,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
