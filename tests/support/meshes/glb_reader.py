"""Reads GLB files of static and skinned meshes."""

import json
import struct
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

Array = npt.NDArray[Any]
_TYPES = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
_SIZES = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class Glb:
    """A GLB file, parsed according to the specification and independently of the writer."""

    def __init__(self, content: bytes) -> None:
        magic, version, length = struct.unpack_from("<4sII", content)
        assert (magic, version, length) == (b"glTF", 2, len(content))
        json_length, json_type = struct.unpack_from("<I4s", content, 12)
        assert json_type == b"JSON" and json_length % 4 == 0
        self.document: dict[str, Any] = json.loads(content[20 : 20 + json_length])
        binary_length, binary_type = struct.unpack_from("<I4s", content, 20 + json_length)
        assert binary_type == b"BIN\0"
        self.binary = content[28 + json_length :]
        assert len(self.binary) == binary_length == self.document["buffers"][0]["byteLength"]

    def array(self, index: int) -> Array:
        accessor = self.document["accessors"][index]
        view = self.document["bufferViews"][accessor["bufferView"]]
        size = _SIZES[accessor["type"]]
        kind = _TYPES[accessor["componentType"]]
        values = np.frombuffer(self.binary, kind, accessor["count"] * size, view["byteOffset"])
        assert view["byteOffset"] % 4 == 0 and view["byteLength"] == values.nbytes
        return values.reshape(accessor["count"], size)

    def joint_matrices(self) -> dict[int, Array]:
        """Node → its global transform, from the hierarchy of the scene."""
        matrices: dict[int, Array] = {}

        def descend(node: int, parent: Array) -> None:
            properties = self.document["nodes"][node]
            local = np.eye(4)
            local[:3, :3] = Rotation.from_quat(properties.get("rotation", [0, 0, 0, 1])).as_matrix()
            local[:3, 3] = properties.get("translation", [0, 0, 0])
            matrices[node] = parent @ local
            for child in properties.get("children", []):
                descend(child, matrices[node])

        for root in self.document["scenes"][0]["nodes"]:
            descend(root, np.eye(4))
        return matrices

    def key_times_s(self, person: int = 0) -> Array:
        """(N,) times of the key frames of a person's joints."""
        joints = self.document["skins"][person]["joints"]
        animation = self.document["animations"][0]
        channel = next(channel for channel in animation["channels"] if channel["target"]["node"] in joints)
        return self.array(animation["samplers"][channel["sampler"]]["input"])[:, 0]

    def show_key(self, key: int, person: int = 0) -> None:
        """Gives the joints of a person the values of a key frame of the animation."""
        joints = self.document["skins"][person]["joints"]
        animation = self.document["animations"][0]
        for channel in animation["channels"]:
            target = channel["target"]
            if target["node"] in joints:
                values = self.array(animation["samplers"][channel["sampler"]]["output"])
                self.document["nodes"][target["node"]][target["path"]] = values[key].tolist()

    def skinned_vertices(self, person: int = 0) -> Array:
        """(V, 3) vertex positions after linear blend skinning."""
        attributes = self.document["meshes"][person]["primitives"][0]["attributes"]
        skin, world = self.document["skins"][person], self.joint_matrices()
        inverse = self.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
        transforms = np.stack([world[node] @ inverse[j] for j, node in enumerate(skin["joints"])])
        vertices = self.array(attributes["POSITION"])
        sets = range(sum(name.startswith("JOINTS_") for name in attributes))
        joints = np.hstack([self.array(attributes[f"JOINTS_{number}"]) for number in sets])
        weights = np.hstack([self.array(attributes[f"WEIGHTS_{number}"]) for number in sets])
        blended = np.einsum("vk,vkab->vab", weights, transforms[joints])
        homogeneous = np.concatenate([vertices, np.ones((len(vertices), 1))], axis=1)
        return np.asarray(np.einsum("vab,vb->va", blended, homogeneous)[:, :3])
