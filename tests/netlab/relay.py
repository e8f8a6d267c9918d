"""Relays IP packets between two namespaces, through a `Pipe` in each direction: `python -m tests.netlab.relay`.

Started by `TwoHosts`.  It reads `{"hosts": [NAMESPACE, NAMESPACE], "shapes": [SHAPE, SHAPE], "rebinds_s": [SECONDS …]}`
from standard input, prints `ready` when packets pass, answers every further line with the bytes offered to each pipe
(`[FORWARD, REVERSE]`), and ends with its standard input.  A line with a shape changes the forward direction.
"""

import ctypes
import fcntl
import heapq
import json
import os
import select
import struct
import sys
import time
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.netlab.pipe import Pipe, Shape
from tests.netlab.traces import Trace

DEVICE = "wire0"
_CLONE_NEWNET = 0x40000000
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_MAX_PACKET_BYTES = 65_536
_UDP, _UDP_PORTS = 17, struct.Struct(">HH")
# Between the ports of a connection before and after the router has forgotten it.
_PORTS_APART = 7


def enter(namespace: str) -> None:
    """Moves this thread into a network namespace. Raises OSError if it does not exist, or must not be entered."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/var/run/netns/{namespace}", "rb") as file:
        if libc.setns(file.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter the network namespace {namespace}")


def open_device(namespace: str) -> int:
    """Opens the relay's end of a host's network device; this process is in the host's namespace afterwards.

    Raises:
        OSError: the namespace or device does not exist, or must not be opened.
    """
    enter(namespace)
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), _IFF_TUN | _IFF_NO_PI))
    return device


def shape_to_json(shape: Shape) -> dict[str, Any]:
    """Serialises a shape for the relay's standard input."""
    trace = shape.trace and {"ends_s": shape.trace.ends_s.tolist(), "bytes_per_s": shape.trace.bytes_per_s.tolist()}
    return {
        "trace": trace,
        "delay_s": shape.delay_s,
        "loss": shape.loss,
        "outages": list(shape.outages),
        "queue_bytes": shape.queue_bytes,
        "seed": shape.seed,
    }


def shape_from_json(document: dict[str, Any]) -> Shape:
    """The inverse of `shape_to_json`."""
    rates = document["trace"]
    trace = Trace(np.array(rates["ends_s"]), np.array(rates["bytes_per_s"])) if rates else None
    return Shape(**{**document, "trace": trace, "outages": [tuple(pair) for pair in document["outages"]]})


class Nat:
    """A router before host 0 that forgets, at certain times, which of its UDP ports are whose.

    Args:
        rebinds_s: when, in seconds of the link's time; never if empty.
    """

    def __init__(self, rebinds_s: Sequence[float]) -> None:
        self._rebinds_s = sorted(rebinds_s)
        self._inner: dict[int, int] = {}
        self._forgotten = 0

    def translated(self, packet: bytes, side: int, now_s: float) -> bytes | None:
        """A packet from the host of a side as the other one gets it; None if it is for a port that was forgotten."""
        head = 4 * (packet[0] & 0x0F)
        if not self._rebinds_s or packet[0] >> 4 != 4 or packet[9] != _UDP:
            return packet
        if self._forgotten < bisect_right(self._rebinds_s, now_s):
            self._forgotten += 1
            self._inner.clear()
        source, target = _UDP_PORTS.unpack_from(packet, head)
        if side == 0:
            inner, source = source, source + self._forgotten * _PORTS_APART
            self._inner[source] = inner
        elif target in self._inner:
            target = self._inner[target]
        else:
            return None
        changed = bytearray(packet)
        _UDP_PORTS.pack_into(changed, head, source, target)
        changed[head + 6 : head + 8] = bytes(2)  # no checksum, which UDP over IPv4 does not need
        return bytes(changed)


def relay(devices: list[int], pipes: list[Pipe], nat: Nat) -> None:
    """Passes packets from each device through its pipe to the other, until standard input ends."""
    offered = [0] * len(pipes)
    began_s = time.monotonic()
    arrivals: list[tuple[float, int, int, bytes]] = []
    count = 0
    while True:
        now_s = time.monotonic() - began_s
        while arrivals and arrivals[0][0] <= now_s:
            _, _, target, packet = heapq.heappop(arrivals)
            os.write(devices[target], packet)
        wait_s = arrivals[0][0] - now_s if arrivals else 1.0
        ready, _, _ = select.select([*devices, sys.stdin], [], [], max(wait_s, 0.0))
        if sys.stdin in ready:
            line = sys.stdin.readline()
            if not line:
                return
            if line.startswith("{"):
                pipes[0].shape = shape_from_json(json.loads(line))
            print(json.dumps(offered), flush=True)
        now_s = time.monotonic() - began_s
        for side, device in enumerate(devices):
            if device in ready:
                packet = os.read(device, _MAX_PACKET_BYTES)
                offered[side] += len(packet)
                translated = nat.translated(packet, side, now_s)
                arrives_s = None if translated is None else pipes[side].offer(len(packet), now_s)
                if translated is not None and arrives_s is not None:
                    count += 1
                    heapq.heappush(arrivals, (arrives_s, count, 1 - side, translated))


def main() -> None:
    setup = json.loads(sys.stdin.readline())
    devices = [open_device(namespace) for namespace in setup["hosts"]]
    print("ready", flush=True)
    relay(devices, [Pipe(shape_from_json(document)) for document in setup["shapes"]], Nat(setup["rebinds_s"]))


if __name__ == "__main__":
    main()
