"""Carries IP packets between two namespaces through a `Pipe` each way: `python -m tests.netlab.relay`, by `TwoHosts`.

It reads `{"hosts": [NAMESPACE, NAMESPACE], "shapes": [SHAPE, SHAPE]}` from standard input, says `ready` when packets
pass, answers every further line with how many bytes each pipe was offered (`[THERE, BACK]`), and ends with its standard
input.
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
from typing import Any

import numpy as np

from tests.netlab.pipe import Pipe, Shape
from tests.netlab.traces import Trace

DEVICE = "wire0"
_CLONE_NEWNET = 0x40000000
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_LARGEST_PACKET = 65_536


def open_device(namespace: str) -> int:
    """The relay's end of a host's network device; this process is in the host's namespace from then on.

    Raises:
        OSError: no such namespace or device, or no right to it.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/var/run/netns/{namespace}", "rb") as place:
        if libc.setns(place.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter the network namespace {namespace}")
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), _IFF_TUN | _IFF_NO_PI))
    return device


def shape_to_json(shape: Shape) -> dict[str, Any]:
    """A shape for the relay's standard input."""
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
    measurement = document["trace"]
    trace = Trace(np.array(measurement["ends_s"]), np.array(measurement["bytes_per_s"])) if measurement else None
    return Shape(**{**document, "trace": trace, "outages": [tuple(pair) for pair in document["outages"]]})


def carry(devices: list[int], pipes: list[Pipe]) -> None:
    """Until standard input ends: what comes out of one device goes through its pipe into the other."""
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
            if not sys.stdin.readline():
                return
            print(json.dumps(offered), flush=True)
        now_s = time.monotonic() - began_s
        for side, device in enumerate(devices):
            if device in ready:
                packet = os.read(device, _LARGEST_PACKET)
                offered[side] += len(packet)
                arrives_s = pipes[side].offer(len(packet), now_s)
                if arrives_s is not None:
                    count += 1
                    heapq.heappush(arrivals, (arrives_s, count, 1 - side, packet))


def main() -> None:
    measurement = json.loads(sys.stdin.readline())
    devices = [open_device(namespace) for namespace in measurement["hosts"]]
    print("ready", flush=True)
    carry(devices, [Pipe(shape_from_json(document)) for document in measurement["shapes"]])


if __name__ == "__main__":
    main()
