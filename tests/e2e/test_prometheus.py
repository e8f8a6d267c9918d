"""A real Prometheus scrapes both real daemons: every query of every panel, rule and alert has an answer."""

import contextlib
import json
import math
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from common.io.addresses import Address
from common.io.telemetry import MetricsServer
from receiver.web.metrics import SignInOutcome, UploadOutcome, WebMetrics
from receiver.web.pictures import STAGES
from tests.deploy.queries import DEPLOY, dashboard_queries, rules, selectors
from tests.e2e.daemons import TIMEOUT_S, receiver

pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None, reason="Prometheus is not installed")

# More than the two scrapes that a rate needs, and than the frames that every counter needs.
SCRAPES_OF_SENDER = 8


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running Prometheus.

    Args:
        address: host:port.
    """

    address: str

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API; None while it does not answer."""
        query = urllib.parse.urlencode(parameters)
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://{self.address}/api/v1/{path}?{query}") as answer,
        ):
            return json.load(answer)["data"]
        return None

    def values(self, expression: str, at_s: float | None = None) -> list[float]:
        """The values of an instant query, one per series."""
        when = {} if at_s is None else {"time": str(at_s)}
        found = self.get("query", query=expression, **when)
        return [] if found is None else [float(series["value"][1]) for series in found["result"]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def prometheus(folder: Path, senders: Sequence[str], receivers: Sequence[str]) -> Iterator[Prometheus]:
    """Prometheus with the configuration and rules of deploy/, except for targets and intervals."""
    text = (DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
    for old, new in (
        ('["sender:9101"]', json.dumps(senders)),
        ('["receiver:9102"]', json.dumps(receivers)),
        (": 5s", ": 1s"),
        ("rules/*.yml", str(DEPLOY / "prometheus" / "rules" / "*.yml")),
    ):
        assert old in text, old
        text = text.replace(old, new)
    (folder / "prometheus.yml").write_text(text, encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    flags = [f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    log = (folder / "prometheus.log").open("w")
    process = subprocess.Popen(["prometheus", *flags, f"--web.listen-address={address}"], stderr=log)
    try:
        yield Prometheus(address)
    finally:
        process.kill()
        process.wait()
        log.close()


def use_the_web(metrics: WebMetrics) -> None:
    """Everything happens in the web part: a rate needs a change between two scrapes."""
    metrics.watcher_connected()
    metrics.accounts(2)
    metrics.request("GET", "/", 200, 0.002)
    metrics.request("GET", "/live", 503, 0.1)
    metrics.frame_shown(20_000)
    metrics.frame_skipped()
    for outcome in UploadOutcome:
        metrics.upload(outcome, 1.2)
    for stage in STAGES:
        metrics.upload_stage(stage, 0.3)
    for attempt in SignInOutcome:
        metrics.sign_in(attempt)


@dataclass(frozen=True, slots=True)
class Scraped:
    """What Prometheus knew while the sender was sending.

    Args:
        at_s: that moment, seconds since the epoch.
    """

    prometheus: Prometheus
    at_s: float

    def values(self, expression: str) -> list[float]:
        return self.prometheus.values(expression, self.at_s)


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """Both daemons with a few seconds of the demo clip, and a web part in which everything happens."""
    folder = tmp_path_factory.mktemp("prometheus")
    sender_metrics, receiver_metrics = (f"127.0.0.1:{free_port()}" for _ in range(2))
    web = WebMetrics(registry := CollectorRegistry())
    with (
        MetricsServer(Address("127.0.0.1", 0), registry) as web_server,
        receiver(folder / "out", "--metrics", receiver_metrics) as running,
        prometheus(folder, [sender_metrics], [receiver_metrics, str(web_server.address)]) as found,
    ):
        flags = ["--camera", "demo", "--realtime", "--peer", running.address, "--metrics", sender_metrics]
        sending = subprocess.Popen([sys.executable, "-m", "sender", *flags], stdout=subprocess.PIPE, text=True)
        try:
            yield Scraped(found, _until_enough_is_scraped(found, sending, web))
        finally:
            sending.kill()
            sending.communicate()


def _until_enough_is_scraped(found: Prometheus, sending: subprocess.Popen[str], web: WebMetrics) -> float:
    """Waits until rates over acknowledged frames are possible, and recorded; returns that moment."""
    until_s = time.monotonic() + TIMEOUT_S
    scrapes = 'count_over_time((bodywire_sender_frames_total{fate="acknowledged"} > 0)[1m:1s])'
    recorded = "instance:bodywire_sender_bytes_per_frame:mean5m > 0"
    while time.monotonic() < until_s:
        use_the_web(web)
        if found.values(scrapes) >= [SCRAPES_OF_SENDER] and found.values(recorded):
            return time.time()
        assert sending.poll() is None, "the sender ended before enough was scraped"
        time.sleep(0.25)
    raise AssertionError("Prometheus did not scrape the sender often enough")


def test_every_target_is_up(scraped: Scraped) -> None:
    assert scraped.values("up") == [1.0, 1.0, 1.0]


def test_file_counts_as_a_camera_that_is_up(scraped: Scraped) -> None:
    assert scraped.values("bodywire_sender_camera_up") == [1.0]


@pytest.mark.parametrize(("place", "expression"), [pytest.param(*query, id=query[0]) for query in dashboard_queries()])
def test_panel_has_data(scraped: Scraped, place: str, expression: str) -> None:
    values = scraped.values(expression)
    assert any(math.isfinite(value) for value in values), f"{expression} → {values}"


@pytest.mark.parametrize("name", [rule["record"] for rule in rules() if "record" in rule])
def test_recorded_series_has_data(scraped: Scraped, name: str) -> None:
    assert any(math.isfinite(value) for value in scraped.values(name))


@pytest.mark.parametrize("rule", [rule for rule in rules() if "alert" in rule], ids=lambda rule: str(rule["alert"]))
def test_alert_reads_series_that_exist(scraped: Scraped, rule: dict[str, Any]) -> None:
    read = selectors(rule["expr"]) or ["up"]
    assert all(scraped.values(selector) for selector in read), read


def test_prometheus_evaluates_every_rule(scraped: Scraped) -> None:
    groups = scraped.prometheus.get("rules")["groups"]
    states = {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
    assert states == {rule.get("record", rule.get("alert")): "ok" for rule in rules()}
    firing = [rule["name"] for group in groups for rule in group["rules"] if rule.get("state") == "firing"]
    # The web part above answers every second request with 503, but not for five minutes.
    assert firing == []
