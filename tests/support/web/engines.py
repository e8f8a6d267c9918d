"""Firefox and WebKit, as Debian ships them, driven by the commands of WebDriver; each on a screen of its own."""

import base64
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests.support.processes.free_port import free_port

MINI_BROWSER = Path("/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser")
KEYS = {"Tab": "\ue004", "Escape": "\ue00c", "ArrowLeft": "\ue012"}
_PATIENCE_S = 60.0
_Found = TypeVar("_Found")


def until(look: Callable[[], _Found | None]) -> _Found:
    """What is seen as soon as it is true. Raises TimeoutError if that takes too long."""
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.1)
    raise TimeoutError("the browser does not show it")


class Engine:
    """A browser's window. Processor and software draw WebGL."""

    needs: Sequence[str]

    def __init__(self, profile: Path) -> None:
        self._opened = ExitStack()
        self._screen = subprocess.Popen(
            ["Xvfb", "-displayfd", "1", "-screen", "0", "1280x900x24", "-nolisten", "tcp"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._screen.stdout is not None
        self._opened.enter_context(self._screen.stdout)
        display = f":{self._screen.stdout.readline().strip()}"
        self._environment = {**os.environ, "HOME": str(profile), "DISPLAY": display, "LIBGL_ALWAYS_SOFTWARE": "1"}
        self._process = self._start(profile, free_port())

    @classmethod
    def missing(cls) -> bool:
        return any(shutil.which(name) is None for name in ("Xvfb", *cls.needs))

    def open(self, url: str) -> None:
        self._command("Navigate", "url", url=url)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        return self._command("ExecuteScript", "execute/sync", script=f"return {script}", args=[])

    def press(self, key: str) -> None:
        value = KEYS.get(key, key)
        keys = [{"type": kind, "value": value} for kind in ("keyDown", "keyUp")]
        self._command("PerformActions", "actions", actions=[{"type": "key", "id": "keys", "actions": keys}])

    def resize(self, width: int, height: int) -> None:
        """Makes the window so wide, or as narrow as the browser allows."""
        self._command("SetWindowRect", "window/rect", width=width, height=height)

    def picture(self) -> bytes:
        """The window's content as PNG."""
        return base64.b64decode(self._command("TakeScreenshot", "screenshot"))

    def close(self) -> None:
        self._opened.close()
        for process in (self._process, self._screen):
            process.kill()
            process.wait()

    def _start(self, profile: Path, port: int) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    def _command(self, name: str, path: str, **parameters: Any) -> Any:
        """A command by its name in Marionette, and its path in WebDriver."""
        raise NotImplementedError


class Firefox(Engine):
    """By Marionette, which needs no further program."""

    needs = ("firefox-esr",)

    def _start(self, profile: Path, port: int) -> subprocess.Popen[bytes]:
        preferences = {"marionette.port": port, "webgl.force-enabled": True}
        lines = [f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in preferences.items()]
        (profile / "user.js").write_text("".join(lines))
        command = ["firefox-esr", "--marionette", "--no-remote", "--profile", str(profile)]
        process = subprocess.Popen(command, env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._connection = self._opened.enter_context(until(lambda: _connected(port)))
        self._answers, self._count = self._opened.enter_context(self._connection.makefile("rb")), 0
        self._answer()
        self._command("NewSession", "")
        return process

    def _command(self, name: str, path: str, **parameters: Any) -> Any:
        self._count += 1
        message = json.dumps([0, self._count, f"WebDriver:{name}", parameters]).encode()
        self._connection.sendall(b"%d:" % len(message) + message)
        _, _, error, result = self._answer()
        assert error is None, error
        return result.get("value") if result else None

    def _answer(self) -> Any:
        size = b""
        while (digit := self._answers.read(1)) != b":":
            size += digit
        return json.loads(self._answers.read(int(size)))


class WebKit(Engine):
    """WebKitGTK's MiniBrowser, by WebKitWebDriver."""

    needs = ("WebKitWebDriver", str(MINI_BROWSER))

    def _start(self, profile: Path, port: int) -> subprocess.Popen[bytes]:
        # Its own sandbox needs namespaces of users.
        environment = {**self._environment, "WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS": "1"}
        process = subprocess.Popen(["WebKitWebDriver", f"--port={port}"], env=environment)
        until(lambda: _connected(port)).close()
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=_PATIENCE_S)
        self._client, self._session = self._opened.enter_context(client), ""
        options = {"webkitgtk:browserOptions": {"binary": str(MINI_BROWSER), "args": ["--automation"]}}
        answer = self._client.post("/session", json={"capabilities": {"alwaysMatch": options}}).json()
        self._session = answer["value"]["sessionId"]
        return process

    def _command(self, name: str, path: str, **parameters: Any) -> Any:
        address = f"/session/{self._session}/{path}"
        answer = self._client.post(address, json=parameters) if parameters else self._client.get(address)
        assert answer.status_code == 200, answer.text
        return answer.json()["value"]

    def close(self) -> None:
        self._client.delete(f"/session/{self._session}")
        super().close()


def _connected(port: int) -> socket.socket | None:
    try:
        return socket.create_connection(("127.0.0.1", port))
    except OSError:
        return None
