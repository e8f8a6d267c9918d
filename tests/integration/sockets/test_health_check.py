"""The command with which containers ask for a receiver's health, against a real port."""

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from common.wire.convert import STREAM_SERVICE
from common.wire.health_check import main
from receiver.config import SecurityConfig
from tests.support.link.certificate_authority import Authority
from tests.support.link.link_fixture import LinkFixture
from tests.support.link.recording_pipeline import RecordingPipeline


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority.make(tmp_path_factory.mktemp("authority") / "certs")
    made.issue("receiver", "127.0.0.1")
    return made


def flags(authority: Authority, name: str = "receiver") -> list[str]:
    folder = authority.folder
    return ["--tls-ca", str(authority.certificate), "--tls-cert", str(folder / f"{name}.pem"),
            "--tls-key", str(folder / f"{name}.key")]  # fmt: skip


async def test_receiver_that_serves(link: LinkFixture, capsys: pytest.CaptureFixture[str]) -> None:
    _, address = await link.server(RecordingPipeline())
    assert await asyncio.to_thread(main, [str(address)]) == 0
    assert capsys.readouterr().out == "serving\n"


async def test_receiver_that_asks_for_certificates(link: LinkFixture, authority: Authority) -> None:
    folder = authority.folder
    security = SecurityConfig(
        tls_cert=folder / "receiver.pem", tls_key=folder / "receiver.key", tls_ca=authority.certificate
    )
    _, address = await link.server(RecordingPipeline(), security=security)
    assert await asyncio.to_thread(main, [str(address), *flags(authority)]) == 0
    assert await asyncio.to_thread(main, [str(address), "--timeout", "0.5"]) == 4


async def test_receiver_that_has_stopped(link: LinkFixture, capsys: pytest.CaptureFixture[str]) -> None:
    server, address = await link.server(RecordingPipeline())
    await server.stop()
    assert await asyncio.to_thread(main, [str(address), "--timeout", "0.5"]) == 4
    assert f"the receiver at {address} does not answer: " in capsys.readouterr().err


def test_wrong_address_or_file(authority: Authority, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nowhere"]) == 2
    assert main(["127.0.0.1:1", "--tls-cert", str(authority.certificate)]) == 2
    assert main(["127.0.0.1:1", *flags(authority, "missing")]) == 2
    assert "Traceback" not in capsys.readouterr().err


async def test_health_is_answered_and_not_streamed(link: LinkFixture) -> None:
    _, address = await link.server(RecordingPipeline())
    async with grpc.aio.insecure_channel(str(address)) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service, status in ((STREAM_SERVICE, None), ("", None), ("other", grpc.StatusCode.NOT_FOUND)):
            call = stub.Check(health_pb2.HealthCheckRequest(service=service))
            assert (await call.code()) is (status or grpc.StatusCode.OK)
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        assert await watch.code() is grpc.StatusCode.UNIMPLEMENTED
