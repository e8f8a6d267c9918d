"""A real Prometheus scrapes both real daemons: every query of every panel, rule and alert has an answer."""

import contextlib
import json
import math
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from tests.deploy.queries import DEPLOY, dashboard_queries, ray_metric_names, rules, selectors
from tests.e2e.daemons import TIMEOUT_S, receiver
from tests.support.processes.demo_clip import demo_picture, looped_clip
from tests.support.processes.free_port import free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="Prometheus is not installed"),
]

CLIPS = 12  # two minutes: uploads of a busy machine take longer than the clip

# More than the two scrapes that a rate needs, and than the frames that every counter needs.
SCRAPES_OF_SENDER = 8

# A frame reaches a browser much sooner, unless the sender has ended.
FRAME_S = 20.0


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


class Visitor:
    """Uses the page as people do: opens it, watches, signs in with a wrong password, uploads a picture.

    Args:
        page: its address.
    """

    def __init__(self, page: str) -> None:
        self._page = page
        self._picture = demo_picture()
        self._client = httpx.Client(base_url=page, timeout=TIMEOUT_S)
        account = {"name": "visitor", "password": "a long password"}
        self._client.post("/api/accounts", json=account).raise_for_status()

    def visit(self) -> None:
        """Once: a rate needs a change between two scrapes."""
        assert self._client.get("/").status_code == 200
        with httpx.Client(base_url=self._page, timeout=TIMEOUT_S) as stranger:
            stranger.post("/api/session", json={"name": "visitor", "password": "a wrong password"})
        uploaded = self._client.post("/upload", files={"image": ("picture.jpg", self._picture, "image/jpeg")})
        assert uploaded.status_code == 201, uploaded.text
        with connect(f"ws{self._page.removeprefix('http')}/live") as browser:
            browser.send(json.dumps({"type": "watch", "session": None, "mesh": "surface", "preview": False}))
            while not isinstance(browser.recv(FRAME_S), bytes):
                pass

    def close(self) -> None:
        self._client.close()


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
    """Both daemons with the demo clip again and again, and a visitor of the page."""
    folder = tmp_path_factory.mktemp("prometheus")
    sender_metrics, receiver_metrics = (f"127.0.0.1:{free_port()}" for _ in range(2))
    with (
        receiver(folder / "out", "--metrics", receiver_metrics, "--http", "127.0.0.1:0") as running,
        prometheus(folder, [sender_metrics], [receiver_metrics]) as found,
        contextlib.closing(Visitor(running.page)) as visitor,
    ):
        clip = looped_clip(folder / "clip.mp4", CLIPS)
        flags = ["--camera", str(clip), "--realtime", "--peer", running.address, "--metrics", sender_metrics]
        flags += ["--channel", "awgn:10dB"]
        sending = subprocess.Popen([sys.executable, "-m", "sender", *flags], stdout=subprocess.PIPE, text=True)
        try:
            yield Scraped(found, _until_enough_is_scraped(found, sending, visitor))
        finally:
            sending.kill()
            sending.communicate()


def _until_enough_is_scraped(found: Prometheus, sending: subprocess.Popen[str], visitor: Visitor) -> float:
    """Waits until rates over frames and pictures are possible, and recorded; returns that moment."""
    until_s = time.monotonic() + TIMEOUT_S
    scrapes = 'count_over_time((bodywire_sender_frames_total{fate="acknowledged"} > 0)[1m:1s])'
    recorded = "instance:bodywire_sender_bytes_per_frame:mean5m > 0"
    pictures = "rate(bodywire_receiver_channel_uses_total[30s]) > 0"
    while time.monotonic() < until_s:
        visitor.visit()
        if found.values(scrapes) >= [SCRAPES_OF_SENDER] and found.values(recorded) and found.values(pictures):
            return time.time()
        assert sending.poll() is None, "the sender ended before enough was scraped"
        time.sleep(0.25)
    raise AssertionError("Prometheus did not scrape the sender often enough")


def test_every_target_is_up(scraped: Scraped) -> None:
    assert scraped.values("up") == [1.0, 1.0]


# Those of Ray: tests/e2e/compose/test_compose_pool.py.
OURS = [pytest.param(*query, id=query[0]) for query in dashboard_queries() if not ray_metric_names(query[1])]


@pytest.mark.parametrize(("place", "expression"), OURS)
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
    assert firing == []
