"""Two hosts on this machine, each a network namespace, with a shaped link between them.  Takes root."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import cache
from types import TracebackType
from typing import Self

from common.errors import OutputError
from tests.netlab.pipe import Shape
from tests.netlab.relay import DEVICE, shape_to_json

ADDRESSES = ("10.77.0.1", "10.77.0.2")
_MTU = 1500
_PATIENCE_S = 30.0
# TCP as nearly every machine does it, or its next of kin, whatever this one prefers.
_CONGESTION_CONTROL = ("cubic", "reno")


@cache
def allowed() -> bool:
    """Whether this process may make namespaces and network devices: makes one to find out, for root may mean little."""
    if os.geteuid() != 0 or shutil.which("ip") is None or not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return False
    trial = f"bodywire-{os.getpid()}-trial"
    try:
        _ip("netns", "add", trial)
        _ip("-n", trial, "tuntap", "add", DEVICE, "mode", "tun")
        return True
    except RuntimeError:
        return False
    finally:
        subprocess.run(["ip", "netns", "del", trial], capture_output=True, check=False)


def require_hosts() -> None:
    """For a bench that needs them.

    Raises:
        OutputError: this process may not make them.
    """
    if not allowed():
        raise OutputError("network namespaces take root and /dev/net/tun: run it as root")


class Program:
    """A Python module that runs on one of the hosts.

    Args:
        process: it, with its output in a pipe.
    """

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def says(self, beginning: str) -> bool:
        """Whether the next line of its output begins so."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().startswith(beginning)

    def rest(self, timeout_s: float) -> str:
        """Waits for its end; returns what it has not said before.

        Raises:
            subprocess.TimeoutExpired: it goes on; it is killed.
        """
        try:
            return self._process.communicate(timeout=timeout_s)[0]
        finally:
            if self._process.poll() is None:
                self.kill()

    @property
    def exit_code(self) -> int | None:
        """Of a program that has ended."""
        return self._process.poll()

    def send_signal(self, number: signal.Signals) -> None:
        """Any signal, without waiting for what becomes of it."""
        self._process.send_signal(number)

    def terminate(self) -> None:
        """SIGTERM, and waits."""
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate(timeout=_PATIENCE_S)

    def kill(self) -> None:
        """SIGKILL, and waits."""
        self._process.kill()
        self._process.communicate()


class TwoHosts:
    """A context manager; the link begins when it is entered.

    Args:
        there: what host 0 sends to host 1 goes through.
        back: what host 1 sends to host 0 goes through.

    Attributes:
        began_at_s: when the link's time was 0, seconds since the epoch.
    """

    def __init__(self, there: Shape, back: Shape) -> None:
        self._shapes = (there, back)
        self._names = tuple(f"bodywire-{os.getpid()}-{side}" for side in (0, 1))
        self._relay: subprocess.Popen[str] | None = None
        self.began_at_s = 0.0

    def __enter__(self) -> Self:
        try:
            for name, address, other in zip(self._names, ADDRESSES, ADDRESSES[::-1], strict=True):
                _ip("netns", "add", name)
                inside = ("-n", name)
                _ip(*inside, "link", "set", "lo", "up")
                _ip(*inside, "tuntap", "add", DEVICE, "mode", "tun")
                _ip(*inside, "addr", "add", f"{address}/32", "peer", other, "dev", DEVICE)
                _ip(*inside, "link", "set", DEVICE, "mtu", str(_MTU), "up")
                _choose_congestion_control(name)
            command = [sys.executable, "-m", "tests.netlab.relay"]
            relay = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self._relay = relay
            measurement = {"hosts": self._names, "shapes": [shape_to_json(shape) for shape in self._shapes]}
            assert relay.stdin is not None
            assert relay.stdout is not None
            relay.stdin.write(json.dumps(measurement) + "\n")
            relay.stdin.flush()
            if not relay.stdout.readline().startswith("ready"):
                raise RuntimeError("the relay between the hosts did not start; its error stands above")
            self.began_at_s = time.time()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, host: int, module: Sequence[str]) -> Program:
        """Starts `python -m` a module and its arguments on one of the hosts."""
        return self._python(host, "-m", *module)

    def run_code(self, host: int, code: str) -> Program:
        """Starts `python -c` on one of the hosts."""
        return self._python(host, "-c", code)

    def _python(self, host: int, *arguments: str) -> Program:
        command = ["ip", "netns", "exec", self._names[host], sys.executable, *arguments]
        return Program(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))

    def move(self, host: int, address: str) -> None:
        """Gives a host another address in place of the one that it has; connections of the old one hear nothing."""
        inside, other = ("-n", self._names[host]), ("-n", self._names[1 - host])
        _ip(*inside, "addr", "flush", "dev", DEVICE)
        _ip(*inside, "addr", "add", f"{address}/32", "peer", ADDRESSES[1 - host], "dev", DEVICE)
        _ip(*other, "route", "replace", f"{address}/32", "dev", DEVICE)

    def offered_bytes(self) -> tuple[int, int]:
        """How many bytes, headers of IP and TCP included, host 0 and host 1 have sent since the link began."""
        assert self._relay is not None
        assert self._relay.stdin is not None
        assert self._relay.stdout is not None
        self._relay.stdin.write("?\n")
        self._relay.stdin.flush()
        there, back = json.loads(self._relay.stdout.readline())
        return there, back

    def close(self) -> None:
        """Ends the link and removes the hosts; processes on them must have ended before."""
        if self._relay is not None:
            try:
                self._relay.communicate(timeout=5)
            except subprocess.TimeoutExpired:
                self._relay.kill()
                self._relay.communicate()
            self._relay = None
        for name in self._names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def _choose_congestion_control(namespace: str) -> None:
    for name in _CONGESTION_CONTROL:
        setting = f"net.ipv4.tcp_congestion_control={name}"
        command = ["ip", "netns", "exec", namespace, "sysctl", "-qw", setting]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return
