"""The configurations of nginx and Caddy in `deploy/proxy`, tried: page, live view and senders through them."""

import asyncio
import json
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.e2e.daemons import RunningReceiver, receiver, run
from tests.support.link.certificate_authority import Authority
from tests.support.processes.demo_clip import demo_pictures
from tests.support.processes.free_port import free_port

PROXY = Path(__file__).parents[2] / "deploy" / "proxy"
NAME = "localhost"
PATHS = "/usr/sbin:/usr/bin"
PASSWORD = "correct horse battery"
WATCH = json.dumps({"type": "watch", "session": None, "mesh": "body", "preview": False})


def adapted(config: str, running: RunningReceiver, page: int, senders: int) -> str:
    """The configuration with this receiver's addresses, and free ports."""
    for old, new in (
        ("127.0.0.1:8080", running.page.removeprefix("http://")),
        ("127.0.0.1:50051", running.address),
        ("50052", str(senders)),
        ("listen 443", f"listen {page}"),
        ("servers :443", f"servers :{page}"),
        ("https://bodywire.example {", f"https://bodywire.example:{page} {{"),
        ("bodywire.example", NAME),
    ):
        config = config.replace(old, new)
    return config


def nginx(folder: Path, config: str, certificate: Path, key: Path) -> list[str]:
    config = re.sub(r"ssl_certificate .*;", f'ssl_certificate "{certificate}";', config)
    config = re.sub(r"ssl_certificate_key .*;", f'ssl_certificate_key "{key}";', config)
    bodies = " ".join(f'{kind}_temp_path "{folder}/{kind}";' for kind in ("client_body", "proxy", "fastcgi", "uwsgi"))
    config = config.replace("http {", f'http {{ access_log off; {bodies} scgi_temp_path "{folder}/scgi";')
    head = f'daemon off; pid "{folder}/nginx.pid"; error_log "{folder}/error.log";'
    (folder / "nginx.conf").write_text(f"{head}\n{config}", encoding="utf-8")
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def caddy(folder: Path, config: str, certificate: Path, key: Path) -> list[str]:
    config = config.replace("\treverse_proxy", f'\ttls "{certificate}" "{key}"\n\treverse_proxy')
    config = config.replace("\n{\n", "\n{\n\tadmin off\n\tauto_https disable_redirects\n", 1)
    (folder / "Caddyfile").write_text(config, encoding="utf-8")
    return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


@contextmanager
def proxied(folder: Path, command: list[str], port: int) -> Iterator[None]:
    log = folder / "proxy.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env={"HOME": str(folder), "PATH": PATHS})
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "file", "command"),
    [("nginx", "nginx.conf", nginx), ("caddy", "Caddyfile", caddy)],
    ids=("nginx", "caddy"),
)
def test_page_and_senders_behind_a_proxy(
    tmp_path: Path, program: str, file: str, command: Callable[[Path, str, Path, Path], list[str]]
) -> None:
    if shutil.which(program, path=PATHS) is None:
        pytest.skip(f"needs Debian's {program}")
    authority = Authority.make(tmp_path / "certs")
    certificate, key = authority.issue("receiver", NAME)
    trusted = ssl.create_default_context(cafile=authority.certificate)
    out, flags = tmp_path / "out", ("--http", "127.0.0.1:0", "--trusted-proxy", "127.0.0.1", "--meshes", "surfaces")
    add = [sys.executable, "-m", "receiver", "accounts", "--out", str(out), "add", "Anna"]
    subprocess.run(add, input=PASSWORD, text=True, check=True, capture_output=True)
    with receiver(out, *flags) as running:
        page, senders = free_port(), free_port()
        config = adapted((PROXY / file).read_text(encoding="utf-8"), running, page, senders)
        with proxied(tmp_path, command(tmp_path, config, certificate, key), page):
            link = ("--peer", f"{NAME}:{senders}", "--tls-ca", str(authority.certificate))
            sent = run("sender", "--camera", str(pictures(tmp_path / "pictures")), *link)
            assert sent.returncode == 0 and sent.stdout.startswith("sent 10 frames"), sent.stderr
            asyncio.run(_visit(f"https://{NAME}:{page}", trusted))
        code, errors = running.terminate()
    assert code == 0, errors


async def _visit(url: str, context: ssl.SSLContext) -> None:
    """Signs in, and watches: nobody is let in without an account, because nobody is on the loopback."""
    async with httpx.AsyncClient(base_url=url, verify=context, headers={"X-Forwarded-For": "127.0.0.1"}) as client:
        assert (await client.get("/")).status_code == 200
        assert (await client.get("/api/sessions")).status_code in (401, 403)
        answer = await client.post("/api/session", json={"name": "Anna", "password": PASSWORD})
        assert answer.status_code in (200, 201), answer.text
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Host-") and "; Secure" in cookie
        headers = {"Cookie": cookie.split(";")[0], "Origin": url}
    async with connect(url.replace("https", "wss") + "/live", ssl=context, additional_headers=headers) as browser:
        await browser.send(WATCH)
        async with asyncio.timeout(20):
            assert json.loads(await browser.recv())


def pictures(folder: Path) -> Path:
    """Ten frames of the demo clip."""
    folder.mkdir()
    for number, picture in enumerate(demo_pictures(10)):
        (folder / f"{number}.jpg").write_bytes(picture)
    return folder
