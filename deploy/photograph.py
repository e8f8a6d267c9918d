"""Takes a screenshot of the web page once it shows a person with a texture, or after 20 seconds.

    python deploy/photograph.py CHROMIUM URL PICTURE.png

Chromium's own --screenshot does not wait for what comes over a WebSocket, so it is asked for one over its debugging
protocol (https://chromedevtools.github.io/devtools-protocol/). Software rendering works everywhere.
"""

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

START_S, ANSWER_S = 60.0, 60.0
FLAGS = (
    "--headless=new",
    "--disable-dev-shm-usage",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--hide-scrollbars",
    "--window-size=1280,800",
    "--remote-debugging-port=0",
)
# Resolves when the person has been drawn, and what has come to rest has been drawn finely.
SHOWN = """new Promise((done) => {
  const began = performance.now();
  const look = () => {
    const ready = document.querySelector(".viewport")?.dataset.textured > 0 || performance.now() - began > 20_000;
    setTimeout(ready ? done : look, ready ? 3000 : 100);
  };
  look();
})"""


@contextmanager
def page_of(chromium: str) -> Iterator[ClientConnection]:
    """The debugging connection to the empty page of a browser that runs during the block.

    Raises:
        OSError: the browser does not start.
    """
    # Chromium has no sandbox for root.
    sandbox = ("--no-sandbox",) if os.geteuid() == 0 else ()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [chromium, *FLAGS, *sandbox, f"--user-data-dir={profile}", "about:blank"]
        browser = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            port = _port(Path(profile) / "DevToolsActivePort", browser)
            # The machine's proxies are not for its loopback.
            direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with direct.open(f"http://127.0.0.1:{port}/json/list", timeout=ANSWER_S) as answer:
                (page,) = (target for target in json.load(answer) if target["type"] == "page")
            with connect(page["webSocketDebuggerUrl"], max_size=None, proxy=None) as connection:
                yield connection
        finally:
            browser.terminate()
            browser.wait(START_S)


def _port(path: Path, browser: "subprocess.Popen[bytes]") -> int:
    """The port in the file that a browser writes when it is ready."""
    deadline_s = time.monotonic() + START_S
    while not (path.is_file() and path.read_text().count("\n")):
        if browser.poll() is not None or time.monotonic() > deadline_s:
            raise OSError("the browser does not start")
        time.sleep(0.1)
    return int(path.read_text().split("\n")[0])


def ask(page: ClientConnection, method: str, **parameters: Any) -> dict[str, Any]:
    """Sends a command and waits for its answer."""
    page.send(json.dumps({"id": 1, "method": method, "params": parameters}))
    while True:
        message = json.loads(page.recv(ANSWER_S))
        if message.get("id") == 1:
            result: dict[str, Any] = message["result"]
            return result


def main(chromium: str, url: str, picture: str) -> None:
    """Writes the screenshot."""
    with page_of(chromium) as page:
        ask(page, "Emulation.setDeviceMetricsOverride", width=1280, height=800, deviceScaleFactor=1, mobile=False)
        ask(page, "Page.navigate", url=url)
        ask(page, "Runtime.evaluate", expression=SHOWN, awaitPromise=True)
        Path(picture).write_bytes(base64.b64decode(ask(page, "Page.captureScreenshot")["data"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
