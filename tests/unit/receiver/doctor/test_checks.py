"""What `receiver doctor` finds: admission, engine, output directory and page."""

import socket
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from common.doctor.finding import Verdict
from common.errors import OutputError, PeerError, UsageError
from common.io.addresses import Address
from common.weights.config import DeviceConfig
from receiver.doctor import checks
from receiver.engine.config import EngineConfig
from receiver.link.auth.tokens import add_token
from receiver.link.config import SecurityConfig
from receiver.publish.config import PublishConfig
from receiver.publish.session_directory import SessionDirectory
from receiver.web.app import check_built
from receiver.web.config import WebConfig
from tests.support.certificate_authority import Authority

AUTO = DeviceConfig()
LOOPBACK, EVERYWHERE = Address("127.0.0.1", 50051), Address("0.0.0.0", 50051)


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.doctor.checks.require_ray", lambda: SimpleNamespace(__version__="2.60.0"))


def test_only_a_pool_needs_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert checks.check_engine(EngineConfig(), AUTO).found == "this process"
    with pytest.raises(UsageError, match="pip install"):
        checks.check_engine(EngineConfig("ray"), AUTO)


def test_pool_on_this_machine(ray: None) -> None:
    assert checks.check_engine(EngineConfig("ray"), AUTO).found == "Ray 2.60.0 on this machine, 1 replicas at most"
    with pytest.raises(UsageError, match="this machine has"):
        checks.check_engine(EngineConfig("ray", replicas=100_000), AUTO)
    with pytest.raises(UsageError, match="--replica-gpus"):
        checks.check_engine(EngineConfig("ray"), DeviceConfig("cuda"))


def test_cluster_is_reached_or_not(ray: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as head:
        config = EngineConfig(f"ray:127.0.0.1:{head.getsockname()[1]}")
        assert f"a cluster answers at {config.address}" in checks.check_engine(config, AUTO).found
    with pytest.raises(PeerError, match="no Ray cluster answers"):
        checks.check_engine(config, AUTO)


def test_this_machine_only(tmp_path: Path) -> None:
    assert checks.check_admission(SecurityConfig(), LOOPBACK).found == "this machine only; senders prove nothing"
    tokens = tmp_path / "tokens.toml"
    add_token(tokens, "camera", None, datetime.now(UTC))
    assert f"a token of {tokens}" in checks.check_admission(SecurityConfig(tokens=tokens), LOOPBACK).found


def test_other_machines(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--tls-cert"):
        checks.check_admission(SecurityConfig(), EVERYWHERE)
    assert checks.check_admission(SecurityConfig(insecure=True), EVERYWHERE).verdict is Verdict.WARNING
    authority = Authority.make(tmp_path / "certs")
    certificate, key = authority.issue("receiver", "127.0.0.1")
    encrypted = SecurityConfig(tls_cert=certificate, tls_key=key)
    assert checks.check_admission(encrypted, EVERYWHERE).verdict is Verdict.WARNING
    mutual = checks.check_admission(replace(encrypted, tls_ca=authority.certificate), EVERYWHERE)
    assert (mutual.verdict, mutual.found) == (
        Verdict.OK,
        f"encrypted; senders present a certificate signed by {authority.certificate}",
    )


def test_token_file_that_cannot_be_used(tmp_path: Path) -> None:
    for tokens in (tmp_path / "missing.toml", tmp_path / "other.toml"):
        (tmp_path / "other.toml").write_text("no token file =")
        with pytest.raises(UsageError, match="--tokens"):
            checks.check_admission(SecurityConfig(tokens=tokens), LOOPBACK)


def test_directory_that_another_receiver_uses_or_where_meshes_is_no_folder(tmp_path: Path) -> None:
    config = PublishConfig(tmp_path / "out")
    assert checks.check_output(config).verdict is Verdict.OK
    assert not config.out.exists()
    with SessionDirectory(config):
        used = checks.check_output(config)
        assert (used.verdict, used.exit_code) == (Verdict.PROBLEM, 5)
        assert "another receiver writes into" in used.found
    assert checks.check_output(config).verdict is Verdict.OK
    (tmp_path / "meshes").touch()
    assert checks.check_output(PublishConfig(tmp_path)).verdict is Verdict.PROBLEM


def test_size_of_a_frame() -> None:
    for config, expected in (
        (PublishConfig(), 1_202_500),
        (PublishConfig(body=False), 302_500),
        (PublishConfig(mesh_every=30), 42_500),
        (PublishConfig(format="ply"), 872_500),
    ):
        assert checks.frame_bytes(config) == pytest.approx(expected), config


def test_disk_lasts(tmp_path: Path) -> None:
    config = PublishConfig(tmp_path / "not" / "yet")
    assert checks.check_disk(config).found != ""
    full = checks.check_disk(config, 1_000_000_000)
    assert (full.verdict, full.exit_code) == (Verdict.WARNING, 0)
    assert "59 seconds" in full.found
    large = checks.check_disk(config, 5 * 10**12)
    assert large.verdict is Verdict.OK
    assert "3 days" in large.found or "83 hours" in large.found


@pytest.fixture(autouse=True)
def built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "check_built", lambda: {})


def test_address_that_is_taken_matters_only_if_the_page_was_asked_for_there() -> None:
    default = checks.check_page(WebConfig(), SecurityConfig())
    assert default.verdict is Verdict.OK and "127.0.0.1:8080" in default.found
    assert "--no-page" in checks.check_page(WebConfig(page=False), SecurityConfig()).found
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address("127.0.0.1", taken.getsockname()[1])
        finding = checks.check_page(WebConfig(http=address), SecurityConfig())
    assert finding.verdict is Verdict.PROBLEM and "--http" in finding.advice


def test_page_that_was_not_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(checks, "check_built", lambda: check_built(tmp_path))
    with pytest.raises(OutputError, match="not built"):
        checks.check_page(WebConfig(), SecurityConfig())


def test_retention_is_said_and_compared_with_the_disk(tmp_path: Path) -> None:
    assert "kept until" in checks.check_retention(PublishConfig(tmp_path)).found
    days = checks.check_retention(PublishConfig(tmp_path, keep_days=30, keep_gb=2), 10**12)
    assert days.verdict is Verdict.OK and "30 days after their end, and the oldest first beyond 2 GB" in days.found
    full = checks.check_retention(PublishConfig(tmp_path, keep_gb=2), 10**9)
    assert full.verdict is Verdict.WARNING and "room for 1.0 GB only" in full.found
