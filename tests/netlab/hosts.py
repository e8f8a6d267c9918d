"""Two hosts on this machine, each a network namespace, with a shaped link between them; needs root."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from types import TracebackType
from typing import Self, TypeVar

from common.errors import OutputError
from tests.netlab.pipe import Shape
from tests.netlab.relay import DEVICE, enter, shape_to_json

ADDRESSES = ("10.77.0.1", "10.77.0.2")
TRIAL = f"bodywire-{os.getpid()}-trial"
MTU = 1500
Made = TypeVar("Made")
_EXIT_TIMEOUT_S = 30.0
# The default of nearly every machine, or else its closest relative, regardless of this machine's setting.
_CONGESTION_CONTROL = ("cubic", "reno")


@cache
def allowed() -> bool:
    """Whether this process may make namespaces and network devices; tries it, since root may not suffice."""
    if os.geteuid() != 0 or shutil.which("ip") is None or not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return False
    return works(["-n", TRIAL, "tuntap", "add", DEVICE, "mode", "tun"])


def works(*commands: Sequence[str]) -> bool:
    """Whether `ip` does what it is asked in the namespace `TRIAL`, which is removed afterwards."""
    try:
        ip("netns", "add", TRIAL)
        for command in commands:
            ip(*command)
        return True
    except RuntimeError:
        return False
    finally:
        subprocess.run(["ip", "netns", "del", TRIAL], capture_output=True, check=False)


def require_hosts() -> None:
    """Checks that the hosts can be made, for benchmarks that need them.

    Raises:
        OutputError: this process must not make network namespaces.
    """
    if not allowed():
        raise OutputError("network namespaces need root and /dev/net/tun: run it as root")


class Program:
    """A Python program on one of the hosts.

    Args:
        process: with its standard output in a pipe.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def next_line_starts_with(self, prefix: str) -> bool:
        """Waits for the next line of its output."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().startswith(prefix)

    def rest(self, timeout_s: float) -> str:
        """Waits for its end; returns the rest of its output.

        Raises:
            subprocess.TimeoutExpired: it has not ended in time, and is killed.
        """
        try:
            return self._process.communicate(timeout=timeout_s)[0]
        finally:
            if self._process.poll() is None:
                self.kill()

    @property
    def exit_code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.poll()

    def send_signal(self, number: signal.Signals) -> None:
        """Sends a signal, without waiting."""
        self._process.send_signal(number)

    def terminate(self) -> None:
        """Sends SIGTERM and waits for the end."""
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate(timeout=_EXIT_TIMEOUT_S)

    def kill(self) -> None:
        """Sends SIGKILL and waits for the end."""
        self._process.kill()
        self._process.communicate()


class TwoHosts:
    """A context manager; the time of the link starts when it is entered.

    Args:
        forward: the direction from host 0 to host 1.
        reverse: the direction from host 1 to host 0.
        rebinds_s: when a router before host 0 forgets its UDP ports, in seconds of the link's time; without, no router.

    Attributes:
        began_at_s: when the time of the link was 0, seconds since the epoch.
    """

    def __init__(self, forward: Shape, reverse: Shape, rebinds_s: Sequence[float] = ()) -> None:
        self._shapes, self._rebinds_s = (forward, reverse), list(rebinds_s)
        self._names = tuple(f"bodywire-{os.getpid()}-{side}" for side in (0, 1))
        self._relay: subprocess.Popen[str] | None = None
        self.began_at_s = 0.0

    def __enter__(self) -> Self:
        try:
            for name, address, peer in zip(self._names, ADDRESSES, ADDRESSES[::-1], strict=True):
                ip("netns", "add", name)
                inside = ("-n", name)
                ip(*inside, "link", "set", "lo", "up")
                ip(*inside, "tuntap", "add", DEVICE, "mode", "tun")
                ip(*inside, "addr", "add", f"{address}/32", "peer", peer, "dev", DEVICE)
                ip(*inside, "link", "set", DEVICE, "mtu", str(MTU), "up")
                _choose_congestion_control(name)
            command = [sys.executable, "-m", "tests.netlab.relay"]
            relay = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self._relay = relay
            shapes = [shape_to_json(shape) for shape in self._shapes]
            setup = {"hosts": self._names, "shapes": shapes, "rebinds_s": self._rebinds_s}
            assert relay.stdin is not None
            assert relay.stdout is not None
            relay.stdin.write(json.dumps(setup) + "\n")
            relay.stdin.flush()
            if not relay.stdout.readline().startswith("ready"):
                raise RuntimeError("the relay between the hosts did not start; see its error above")
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
        """Starts `python -m` with a module and its arguments on one of the hosts."""
        return self._python(host, "-m", *module)

    def run_code(self, host: int, code: str) -> Program:
        """Starts `python -c` on one of the hosts."""
        return self._python(host, "-c", code)

    def _python(self, host: int, *arguments: str) -> Program:
        command = [*self.prefix(host), sys.executable, *arguments]
        return Program(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))

    def prefix(self, host: int) -> list[str]:
        """The beginning of a command that runs on one of the hosts."""
        return ["ip", "netns", "exec", self._names[host]]

    def made_on(self, host: int, make: Callable[[], Made]) -> Made:
        """What `make` returns on one of the hosts: a socket that it makes stays there."""
        with ThreadPoolExecutor(1, initializer=enter, initargs=(self._names[host],)) as thread:
            return thread.submit(make).result()

    def move(self, host: int, address: str) -> None:
        """Replaces a host's address; connections from the old one receive nothing any more."""
        inside, peer = ("-n", self._names[host]), ("-n", self._names[1 - host])
        ip(*inside, "addr", "flush", "dev", DEVICE)
        ip(*inside, "addr", "add", f"{address}/32", "peer", ADDRESSES[1 - host], "dev", DEVICE)
        ip(*peer, "route", "replace", f"{address}/32", "dev", DEVICE)

    def offered_bytes(self) -> tuple[int, int]:
        """Bytes that host 0 and host 1 have sent since the link began, headers of IP and TCP included."""
        return self._ask("?")

    def reshape(self, forward: Shape) -> None:
        """Changes the direction from host 0 to host 1; packets that wait there keep their times."""
        self._ask(json.dumps(shape_to_json(forward)))

    def _ask(self, line: str) -> tuple[int, int]:
        """The relay's answer to a line."""
        assert self._relay is not None
        assert self._relay.stdin is not None
        assert self._relay.stdout is not None
        self._relay.stdin.write(line + "\n")
        self._relay.stdin.flush()
        forward_bytes, reverse_bytes = json.loads(self._relay.stdout.readline())
        return forward_bytes, reverse_bytes

    def close(self) -> None:
        """Ends the link and removes the hosts, on which no process may run any more."""
        if self._relay is not None:
            try:
                self._relay.communicate(timeout=5)
            except subprocess.TimeoutExpired:
                self._relay.kill()
                self._relay.communicate()
            self._relay = None
        for name in self._names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def ip(*arguments: str) -> None:
    """Runs `ip`; raises RuntimeError with what it prints if it fails."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def _choose_congestion_control(namespace: str) -> None:
    for name in _CONGESTION_CONTROL:
        setting = f"net.ipv4.tcp_congestion_control={name}"
        command = ["ip", "netns", "exec", namespace, "sysctl", "-qw", setting]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return
