"""What other programs' readers find in a file of ours; runs in any Python that has the reader.

    python tests/support/file_readers.py trimesh FILE

prints a JSON object: `vertices`; `colour`, the mean of what the vertices or the texture show, linear light, 0 to 1;
`hidden`, whether vertices have colours that nothing shows; `texture`, its side in pixels; `bones`; `seconds` of
animation; `own_rate`, whether these follow from the reader's own frame rate; `low` and `high`, corners of the box
around the mesh in metres; `up`, the axis. Absent is what the reader or the file has not.
"""

import io
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Facts = dict[str, Any]


def _linear(levels: Any) -> list[float]:
    """Mean of sRGB colours (…, 3), 0…1, as linear light."""
    import numpy as np

    srgb = np.asarray(levels, np.float64).reshape(-1, np.shape(levels)[-1])[:, :3]
    return [float(mean) for mean in np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4).mean(0)]


def _box(vertices: Any) -> Facts:
    import numpy as np

    points = np.asarray(vertices)
    return {"vertices": len(points), "low": points.min(axis=0).tolist(), "high": points.max(axis=0).tolist()}


def _picture(picture: Any) -> Facts:
    import numpy as np

    return {"texture": max(picture.size), "colour": _linear(np.asarray(picture.convert("RGB")) / 255)}


def read_trimesh(path: Path) -> Facts:
    import numpy as np
    import trimesh

    mesh = trimesh.load_mesh(path, process=False)
    facts = {**_box(mesh.vertices), "watertight": bool(mesh.is_watertight), "up": "y"}
    visual: Any = mesh.visual
    if visual.kind == "vertex":
        colours = np.asarray(visual.vertex_colors)[:, :3] / 255
        facts["colour"] = colours.mean(axis=0).tolist() if path.suffix == ".glb" else _linear(colours)
    picture = getattr(getattr(visual, "material", None), "baseColorTexture", None)
    return facts if picture is None else {**facts, **_picture(picture)}


def read_pygltflib(path: Path) -> Facts:
    import numpy as np
    import pygltflib
    from PIL import Image

    file = pygltflib.GLTF2().load(str(path))
    primitive = file.meshes[0].primitives[0]
    accessor = file.accessors[primitive.attributes.POSITION]
    facts: Facts = {"vertices": accessor.count, "low": accessor.min, "high": accessor.max, "up": "y"}
    binary = file.binary_blob()

    def view(number: int) -> bytes:
        found = file.bufferViews[number]
        return bytes(binary[found.byteOffset : found.byteOffset + found.byteLength])

    if primitive.attributes.COLOR_0 is not None:
        colours = np.frombuffer(view(file.accessors[primitive.attributes.COLOR_0].bufferView), np.float32)
        facts["colour"] = colours.reshape(-1, 3).mean(axis=0).tolist()
    if file.images:
        facts |= _picture(Image.open(io.BytesIO(view(file.images[0].bufferView))))
    if file.skins:
        facts["bones"] = len(file.skins[0].joints)
    if file.animations:
        facts["seconds"] = max(file.accessors[each.input].max[0] for each in file.animations[0].samplers)
    return facts


def read_open3d(path: Path) -> Facts:
    import numpy as np
    import open3d

    mesh = open3d.io.read_triangle_mesh(str(path))
    facts = {**_box(mesh.vertices), "up": "y"}
    if mesh.has_vertex_colors():
        colours = np.asarray(mesh.vertex_colors)
        facts["colour"] = colours.mean(axis=0).tolist() if path.suffix == ".glb" else _linear(colours)
    pictures = [np.asarray(each) for each in mesh.textures]
    if pictures and pictures[0].ndim:
        facts |= {"texture": max(pictures[0].shape), "colour": _linear(pictures[0] / 255)}
    return facts


def read_meshlab(path: Path) -> Facts:
    import numpy as np
    import pymeshlab

    meshes = pymeshlab.MeshSet()
    meshes.load_new_mesh(str(path))
    mesh = meshes.current_mesh()
    facts = {**_box(mesh.vertex_matrix()), "up": "y"}
    if mesh.texture_number():
        shown = next(iter(mesh.textures().values()))
        facts["texture"] = max(shown.width(), shown.height())
    elif mesh.has_vertex_color():
        colours = np.asarray(mesh.vertex_color_matrix())[:, :3]
        facts["colour"] = colours.mean(axis=0).tolist() if path.suffix == ".glb" else _linear(colours)
    return facts


def read_blender(path: Path) -> Facts:
    import bpy
    import numpy as np

    bpy.ops.wm.read_factory_settings(use_empty=True)
    operators = {
        ".glb": lambda: bpy.ops.import_scene.gltf(filepath=str(path)),
        ".obj": lambda: bpy.ops.wm.obj_import(filepath=str(path)),
        ".ply": lambda: bpy.ops.wm.ply_import(filepath=str(path), forward_axis="NEGATIVE_Z", up_axis="Y"),
        ".usdz": lambda: bpy.ops.wm.usd_import(filepath=str(path)),
        ".bvh": lambda: bpy.ops.import_anim.bvh(filepath=str(path), global_scale=0.01, update_scene_fps=True),
    }
    operators[path.suffix]()
    facts: Facts = {"up": "z"}
    graph = bpy.context.evaluated_depsgraph_get()
    for thing in bpy.data.objects:
        if thing.type == "MESH" and thing.data.vertices and not thing.name.startswith("Icosphere"):
            shown = thing.evaluated_get(graph)
            facts |= _box([tuple(shown.matrix_world @ vertex.co) for vertex in shown.data.vertices])
            facts["vertices"] = len(thing.data.vertices)
            drawn = {node.bl_idname for slot in thing.data.materials if slot for node in slot.node_tree.nodes}
            if thing.data.color_attributes:
                facts["hidden"] = not drawn & {"ShaderNodeVertexColor", "ShaderNodeAttribute"}
                values = np.array([tuple(value.color)[:3] for value in thing.data.color_attributes[0].data])
                facts["colour"] = values.mean(axis=0).tolist()
        if thing.type == "ARMATURE":
            facts["bones"] = len(thing.data.bones)
            if path.suffix == ".bvh":
                ends = [end for bone in thing.data.bones for end in (bone.head_local, bone.tail_local)]
                facts |= _box([tuple(thing.matrix_world @ end) for end in ends])
            if thing.animation_data and thing.animation_data.action:
                first, last = thing.animation_data.action.frame_range
                facts["seconds"] = (last - first) / bpy.context.scene.render.fps
                # Time codes of USD become frames, but the scene keeps its rate.
                facts["own_rate"] = path.suffix == ".usdz"
    for picture in bpy.data.images:
        if picture.size[0]:
            facts["texture"] = max(picture.size)
    return facts


def read_usd(path: Path) -> Facts:
    import numpy as np
    from PIL import Image
    from pxr import Usd, UsdGeom, UsdSkel

    stage = Usd.Stage.Open(str(path))
    facts: Facts = {"up": UsdGeom.GetStageUpAxis(stage).lower()}
    for prim in stage.Traverse():
        if prim.IsA(UsdGeom.Mesh):
            points = np.array(UsdGeom.Mesh(prim).GetPointsAttr().Get()) * UsdGeom.GetStageMetersPerUnit(stage)
            facts |= _box(points)
            colours = UsdGeom.Mesh(prim).GetDisplayColorPrimvar().Get()
            facts |= {} if colours is None else {"colour": np.array(colours).mean(axis=0).tolist()}
        if prim.IsA(UsdSkel.Skeleton):
            facts["bones"] = len(UsdSkel.Skeleton(prim).GetJointsAttr().Get())
    facts["seconds"] = (stage.GetEndTimeCode() - stage.GetStartTimeCode()) / stage.GetTimeCodesPerSecond()
    with zipfile.ZipFile(path) as package:
        pictures = [name for name in package.namelist() if name.endswith(".jpg")]
        if pictures:
            facts |= _picture(Image.open(io.BytesIO(package.read(pictures[0]))))
    return facts


READERS: dict[str, tuple[Callable[[Path], Facts], str, tuple[str, ...]]] = {
    "trimesh": (read_trimesh, "trimesh", (".glb", ".obj", ".ply")),
    "pygltflib": (read_pygltflib, "pygltflib", (".glb",)),
    "Open3D": (read_open3d, "open3d", (".glb", ".obj", ".ply")),
    "MeshLab": (read_meshlab, "pymeshlab", (".glb", ".obj", ".ply")),
    "Blender": (read_blender, "bpy", (".glb", ".obj", ".ply", ".usdz", ".bvh")),
    "OpenUSD": (read_usd, "pxr", (".usdz",)),
}
"""Name → function, the module that it needs, and the endings that it reads."""

if __name__ == "__main__":
    found = READERS[sys.argv[1]][0](Path(sys.argv[2]))
    sys.stdout.write("\n" + json.dumps(found) + "\n")
