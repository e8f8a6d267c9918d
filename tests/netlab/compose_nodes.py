"""Runs services of a compose file without containers: their own commands, in network namespaces of this machine.

What the file says of a service holds here too: networks, user, capabilities, read-only root, volumes, temporary file
systems, environment, entry point and command. The machine's own files stand in for the image. Needs root.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from shlex import join, quote
from types import TracebackType
from typing import Any, Self

import yaml

from tests.netlab.hosts import TRIAL, ip, works

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "deploy" / "compose.yaml"
_IMAGE = "/srv"
"""Where images and volumes of the file keep everything of ours."""

_RELAY = ROOT / "deploy" / "relay"
_PROGRAMS = {
    "sender": [sys.executable, "-m", "sender"],
    "receiver": [sys.executable, "-m", "receiver"],
    "python": [sys.executable],
    "ray": [str(Path(sys.executable).parent / "ray")],
    "rate": [str(_RELAY / "rate")],
    "delay": [str(_RELAY / "delay")],
}
"""What the images have in their PATH."""
_OWN_PROCESSES = ("unshare", "--pid", "--fork", "--mount-proc")
_EXEC_TIMEOUT_S = 60.0
_CLONE_NEWNET = 0x40000000

# Runs in the mount namespace that `ip netns exec` makes: first what root has to do, then the command as another user.
_ENTER = """set -eu
mount -t tmpfs tmpfs /srv
{mounts}
mount -o remount,bind,ro /srv
{readonly}
exec {rights} "$@"
"""


@cache
def allowed() -> bool:
    """Whether this process may make namespaces, bridges and mounts; tries it, since root may not suffice."""
    if os.geteuid() != 0 or any(shutil.which(program) is None for program in ("ip", "nsenter", "setpriv")):
        return False
    return works(
        ["-n", TRIAL, "link", "add", "br0", "type", "bridge"],
        ["-n", TRIAL, "link", "add", "port0", "type", "veth", "peer", "name", "eth0"],
        ["netns", "exec", TRIAL, "mount", "-t", "tmpfs", "tmpfs", _IMAGE],
    )


def read_services(environment: Mapping[str, str], file: Path = COMPOSE) -> dict[str, Any]:
    """The services of a compose file as docker-compose reads them, variables replaced."""
    command = ["docker-compose", "-f", str(file), "config"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = yaml.safe_load(done.stdout)["services"]
    return found


class ComposeNodes:
    """A context manager with one network namespace per service; services of one network reach each other by name.

    Args:
        services: name → service, of those that run here.
        folder: where the volumes are.
        images: absolute path within the image → what is there.
        own_processes: a service sees its own processes alone, as in a container, and ends without a signal to it; Ray
            looks for its node among the processes that it sees.
    """

    def __init__(
        self,
        services: Mapping[str, Any],
        folder: Path,
        images: Mapping[str, Path],
        own_processes: bool = False,
    ) -> None:
        self._services = services
        self._own_processes = own_processes
        self._folder = folder
        self._images = images
        self._prefix = f"bodywire-{os.getpid()}"
        self._networks = sorted({network for service in services.values() for network in service.get("networks", {})})
        self._processes: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> Self:
        try:
            for name in self._services:
                ip("netns", "add", self._namespace(name))
                ip("-n", self._namespace(name), "link", "set", "lo", "up")
            for number, network in enumerate(self._networks, start=1):
                self._connect(number, network)
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes.values():
            # The first process of a namespace: all others end with it.
            for child in self._children(process.pid) if self._own_processes else ():
                os.kill(child, signal.SIGKILL)
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self._remove()

    def start(self, name: str) -> subprocess.Popen[str]:
        """Starts a service with its own entry point and command; its output, stderr included, is in a pipe."""
        service = self._services[name]
        inside = ["sh", "-c", self._script(name), "sh", *service["entrypoint"], *service["command"]]
        if self._own_processes:
            inside = [*_OWN_PROCESSES, *inside]
        # Each of these programs replaces the one before, so that this is the process of the service itself.
        process = self._popen(name, ["ip", "netns", "exec", self._namespace(name), *inside])
        self._processes[name] = process
        return process

    def exec(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command beside a service, with its network, files and rights, as `docker compose exec` does."""
        pid = self._processes[name].pid
        namespaces = ["nsenter", f"--target={pid}", "--mount", "--net"]
        if self._own_processes:
            # None yet while the service is being started: the command then fails.
            target = next(iter(self._children(pid)), pid)
            namespaces = ["nsenter", f"--target={target}", "--mount", "--net", "--pid"]
        process = self._popen(name, [*namespaces, *self._lower_rights(name), *command])
        output, _ = process.communicate(timeout=_EXEC_TIMEOUT_S)
        return subprocess.CompletedProcess(command, process.returncode, output)

    def get(self, name: str, port: int, path: str) -> str:
        """Asks an HTTP server of a service, from its own network; raises OSError."""
        with ThreadPoolExecutor(1, initializer=_enter_network, initargs=(self._namespace(name),)) as inside:
            return inside.submit(_get, f"http://127.0.0.1:{port}{path}").result()

    def healthy(self, name: str) -> bool:
        """Whether the health check of a service passes."""
        kind, *command = self._services[name]["healthcheck"]["test"]
        assert kind == "CMD"
        return self.exec(name, *command).returncode == 0

    def volume(self, name: str) -> Path:
        """The folder of a named volume."""
        return self._folder / name

    def address(self, name: str, network: str) -> str:
        """The address of a service in a network."""
        return f"10.78.{self._networks.index(network) + 1}.{list(self._services).index(name) + 2}"

    def _children(self, pid: int) -> list[int]:
        """The processes that a process has started; none if it has ended."""
        try:
            return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except OSError:
            return []

    def _connect(self, number: int, network: str) -> None:
        """A network is a bridge in a namespace of its own."""
        bridge = self._namespace(f"net{number}")
        ip("netns", "add", bridge)
        ip("-n", bridge, "link", "add", "br0", "type", "bridge")
        ip("-n", bridge, "link", "set", "br0", "up")
        for name, service in self._services.items():
            if network in service.get("networks", {}):
                inside, port = f"eth{number}", f"port{list(self._services).index(name)}"
                ip("-n", bridge, "link", "add", port, "type", "veth", "peer", "name", inside,
                    "netns", self._namespace(name))  # fmt: skip
                ip("-n", bridge, "link", "set", port, "master", "br0", "up")
                ip("-n", self._namespace(name), "addr", "add", f"{self.address(name, network)}/24", "dev", inside)
                ip("-n", self._namespace(name), "link", "set", inside, "up")

    def _popen(self, name: str, command: Sequence[str]) -> subprocess.Popen[str]:
        environment = {
            "PATH": f"{_IMAGE}/bin:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "HOME": "/tmp",
            **self._services[name].get("environment", {}),
        }
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, cwd="/"
        )

    def _script(self, name: str) -> str:
        """What root does in the service's mount namespace, and then the command, which follows as arguments."""
        return _ENTER.format(
            mounts="\n".join(self._mounts(name)),
            readonly="mount -o remount,bind,ro /" if self._services[name].get("read_only") else "",
            rights=" ".join(self._lower_rights(name)),
        )

    def _lower_rights(self, name: str) -> list[str]:
        """The command that becomes the service's user, with its capabilities."""
        service = self._services[name]
        uid, _, gid = service["user"].partition(":")
        rights = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
        if service.get("cap_drop") == ["ALL"]:
            rights += ["--bounding-set=-all", "--inh-caps=-all"]
        if "no-new-privileges:true" in service.get("security_opt", ()):
            rights.append("--no-new-privs")
        return rights

    def _mounts(self, name: str) -> list[str]:
        """Commands that mount the image's files, the programs, the names of other services, and the volumes."""
        service = self._services[name]
        programs, hosts = self._folder / "programs", self._folder / f"{name}.hosts"
        programs.mkdir(exist_ok=True)
        for program, command in _PROGRAMS.items():
            (programs / program).write_text(f'#!/bin/sh\nexec {join(command)} "$@"\n')
            (programs / program).chmod(0o755)
        hosts.write_text("127.0.0.1 localhost\n" + "".join(f"{line}\n" for line in self._peers(name)))
        mounts = [f"mount --bind {quote(str(hosts))} /etc/hosts"]

        def bind(source: Path, target: str, mode: str) -> None:
            bound = f"mount --bind {quote(str(source))} {target}"
            mounts.append(f"mkdir -p {target}; {bound}; mount -o remount,bind,{mode} {target}")

        for target, image in {f"{_IMAGE}/bin": programs, **self._images}.items():
            bind(image, target, "ro")
        for entry in service.get("volumes", ()):
            source, target, mode = entry.split(":")
            folder = self._folder / source
            if not folder.exists():
                folder.mkdir(mode=0o700)
                os.chown(folder, *map(int, service["user"].split(":")))
            bind(folder, target, mode)
        for entry in service.get("tmpfs", ()):
            target, _, options = entry.partition(":")
            if target != "/tmp":
                mounts.append(f"mkdir -p {target}; mount -t tmpfs -o {options} tmpfs {target}")
        # At the end, because the mounts above come from folders that may lie in /tmp.
        return [*mounts, *_cover([Path(sys.base_prefix), Path(sys.prefix), ROOT])]

    def _peers(self, name: str) -> list[str]:
        """Lines of /etc/hosts: the services of the networks of a service."""
        networks = self._services[name].get("networks", {})
        return [
            f"{self.address(other, network)} {other}"
            for network in networks
            for other, service in self._services.items()
            if network in service.get("networks", {})
        ]

    def _namespace(self, name: str) -> str:
        return f"{self._prefix}-{name}"

    def _remove(self) -> None:
        bridges = (f"net{number}" for number in range(1, len(self._networks) + 1))
        for name in (*self._services, *bridges):
            subprocess.run(["ip", "netns", "del", self._namespace(name)], capture_output=True, check=False)


def _cover(folders: Sequence[Path]) -> list[str]:
    """Commands for an empty /tmp, and empty folders in place of somebody's private ones, such as Python's /root.

    The given folders stay reachable in them, for other users too.
    """
    covered: dict[Path, list[Path]] = {Path("/tmp"): []}
    for folder in folders:
        above = [
            parent for parent in reversed(folder.parents) if parent in covered or not parent.stat().st_mode & 0o001
        ]
        if above:
            covered.setdefault(above[0], []).append(folder)
    commands = []
    for number, (cover, inside) in enumerate(covered.items()):
        places = {quote(str(folder)): f"{_IMAGE}/hidden/{number}-{position}" for position, folder in enumerate(inside)}
        commands += [f"mkdir -p {place}; mount --bind {folder} {place}" for folder, place in places.items()]
        options = "mode=1777,size=192m" if cover == Path("/tmp") else "mode=755"
        commands.append(f"mount -t tmpfs -o {options} tmpfs {quote(str(cover))}")
        commands += [f"mkdir -p {folder}; mount --bind {place} {folder}" for folder, place in places.items()]
    return commands


def _enter_network(namespace: str) -> None:
    """Moves this thread to a network namespace, for good."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/var/run/netns/{namespace}", "rb") as file:
        if libc.setns(file.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter the network namespace {namespace}")


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10.0) as answer:
        return str(answer.read().decode())
