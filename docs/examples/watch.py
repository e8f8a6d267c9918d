"""Watches a receiver's live stream: prints a line for each frame, and keeps the newest mesh of everybody.

    python docs/examples/watch.py "http://127.0.0.1:8080/?token=…" [--mesh body|surface] [--ply FILE]

Needs `websockets` (16 or later) and `numpy`. The stream is described in docs/web.md, "The live stream for programs".
"""

import argparse
import json
import struct
from collections.abc import Iterator
from urllib.parse import urlsplit

import numpy as np
from websockets.sync.client import connect


def watch(address: str, mesh: str = "surface") -> Iterator[tuple[dict, dict[int, tuple]]]:
    """Yields each frame's record, and by person vertices (V, 3) in metres, faces (F, 3) and colours (V, 3) or None."""
    place = urlsplit(address)
    scheme = "wss" if place.scheme == "https" else "ws"
    url = f"{scheme}://{place.netloc}/live?{place.query}"
    # The environment's proxy, if there is one, is not for this machine itself.
    proxy = None if place.hostname in ("127.0.0.1", "localhost", "::1") else True
    with connect(url, max_size=None, compression=None, proxy=proxy) as socket:
        socket.send(json.dumps({"type": "watch", "session": None, "mesh": mesh, "preview": False}))
        faces, colours = {}, {}
        for message in socket:
            if isinstance(message, str):  # `hello` and `sessions`
                continue
            (length,) = struct.unpack_from("<I", message)
            header, payload = json.loads(message[4 : 4 + length]), memoryview(message)[4 + length :]

            def array(entry: dict, kind: str, columns: int, payload: memoryview = payload) -> np.ndarray:
                found = np.frombuffer(payload, kind, columns * entry["count"], entry["offset"])
                return found.reshape(-1, columns)

            if header["type"] == "topology":
                kind = {"u16": "<u2", "u32": "<u4"}[header["faces"]["type"]]
                faces[header["name"]] = array(header["faces"], kind, 3)
            if header["type"] != "frame":
                continue
            socket.send(json.dumps({"type": "shown", "id": header["id"]}))
            people = {}
            for person in header["people"]:
                vertices = np.array(person["origin"]) + person["scale"] * array(person["vertices"], "<u2", 3)
                if "colours" in person:  # otherwise those of the person's last mesh, or of a texture
                    colours[header["session"], person["id"]] = array(person["colours"], "u1", 3)
                worn = colours.get((header["session"], person["id"]))
                people[person["id"]] = vertices, faces[person["topology"]], worn
            yield header["record"], people


def write_ply(path: str, vertices: np.ndarray, faces: np.ndarray, colours: np.ndarray | None) -> None:
    """Writes a mesh as text, y up."""
    shown = np.full(vertices.shape, 200, np.uint8) if colours is None else colours
    header = f"ply\nformat ascii 1.0\nelement vertex {len(vertices)}\n" + "".join(
        f"property {name}\n" for name in ("float x", "float y", "float z", "uchar red", "uchar green", "uchar blue")
    )
    with open(path, "w", encoding="ascii") as file:
        file.write(f"{header}element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n")
        np.savetxt(file, np.hstack([vertices * [1, -1, -1], shown]), "%.5f %.5f %.5f %d %d %d")
        np.savetxt(file, np.hstack([np.full((len(faces), 1), 3), faces]), "%d")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("--mesh", choices=("surface", "body"), default="surface")
    parser.add_argument("--ply", metavar="FILE")
    options = parser.parse_args()
    printed = None
    for record, people in watch(options.address, options.mesh):
        sizes = ", ".join(f"person {number}: {len(mesh[0])} vertices" for number, mesh in people.items())
        # Between the frames that a sender sends, people are shown as they are predicted, with the record of the newest.
        if record != printed:
            print(f"frame {record['seq']}, {record['bytes']['total']} bytes: {sizes or 'nobody'}")
            printed = record
        if options.ply and people:
            write_ply(options.ply, *next(iter(people.values())))
