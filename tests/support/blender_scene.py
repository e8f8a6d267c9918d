"""What `tests.bench.export` runs inside Blender; imports nothing but what Blender has.

    blender --background --factory-startup --python tests/support/blender_scene.py -- FILE.glb FILE.bvh FOLDER

Imports the files, plays the animation, bends an arm in pose mode, renders pictures into FOLDER, and writes what it has
measured to FOLDER/measured.json.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

import bpy
import io_anim_bvh.import_bvh
import numpy as np
from mathutils import Matrix, Vector

if "bool" not in vars(np):
    np.bool = np.bool_  # type: ignore[misc]  # Debian's importer of Blender 3.4 is older than Debian's NumPy 1.24

_BENT_BONE = "lowerarm01.L"
_BEND_DEGREES = 80.0
_PIXELS = 480


def evaluated_vertices(mesh: Any) -> list[Vector]:
    """World positions of a mesh as the armature deforms it."""
    evaluated = mesh.evaluated_get(bpy.context.evaluated_depsgraph_get())
    return [evaluated.matrix_world @ vertex.co for vertex in evaluated.data.vertices]


def largest_distance_m(one: list[Vector], other: list[Vector]) -> float:
    return float(max((a - b).length for a, b in zip(one, other, strict=True)))


def look_at(vertices: list[Vector]) -> None:
    """Points the camera at the vertices, from the front and a little from the side."""
    low, high = (Vector([bound(v[axis] for v in vertices) for axis in range(3)]) for bound in (min, max))
    centre, size = (low + high) / 2, (high - low).length
    camera = bpy.context.scene.camera
    # Blender is z up; the recording camera looks along y.
    camera.location = centre + Vector((0.5, -1.5, 0.3)) * size
    camera.rotation_euler = (centre - camera.location).to_track_quat("-Z", "Y").to_euler()


def render(path: Path) -> None:
    scene = bpy.context.scene
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)


def prepare_scene() -> None:
    """An empty scene with a camera, and Cycles on the CPU, which needs neither a GPU nor a display."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    scene.collection.objects.link(scene.camera)
    sun = bpy.data.objects.new("sun", bpy.data.lights.new("sun", "SUN"))
    sun.data.energy, sun.rotation_euler = 3.0, (math.radians(50), 0.0, math.radians(-30))
    scene.collection.objects.link(sun)
    scene.world = bpy.data.worlds.new("world")
    scene.world.color = (0.4, 0.4, 0.4)
    scene.render.engine, scene.cycles.device, scene.cycles.samples = "CYCLES", "CPU", 4
    scene.cycles.use_denoising = False
    scene.render.threads_mode, scene.render.threads = "FIXED", 1
    scene.render.resolution_x = scene.render.resolution_y = _PIXELS


def show_vertex_colours(mesh: Any) -> None:
    """The importer shows a texture, and keeps vertex colours; a material has to show these."""
    if not mesh.data.color_attributes:
        return
    material = bpy.data.materials.new("colours")
    material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    colours = nodes.new("ShaderNodeVertexColor")
    colours.layer_name = mesh.data.color_attributes[0].name
    links.new(colours.outputs["Color"], nodes["Principled BSDF"].inputs["Base Color"])
    mesh.data.materials.clear()
    mesh.data.materials.append(material)


def measure_glb(path: Path, folder: Path) -> dict[str, Any]:
    """Imports, plays and bends."""
    prepare_scene()
    bpy.ops.import_scene.gltf(filepath=str(path))
    scene = bpy.context.scene
    armature = next(thing for thing in scene.objects if thing.type == "ARMATURE")
    mesh = next(thing for thing in scene.objects if thing.find_armature() == armature)
    action = armature.animation_data.action
    first, last = (int(edge) for edge in action.frame_range)
    show_vertex_colours(mesh)
    played = []
    for number, frame in enumerate((first, (first + last) // 2, last)):
        scene.frame_set(frame)
        played.append(evaluated_vertices(mesh))
        look_at(played[-1])
        render(folder / f"played-{number}.png")
    bone = armature.pose.bones[_BENT_BONE]
    armature.animation_data.action = None
    before = evaluated_vertices(mesh)
    bone.matrix = bone.matrix @ Matrix.Rotation(math.radians(_BEND_DEGREES), 4, "X")
    bpy.context.view_layer.update()
    bent = evaluated_vertices(mesh)
    look_at(bent)
    render(folder / "bent.png")
    moved = [(a - b).length for a, b in zip(before, bent, strict=True)]
    return {
        "armatures": sum(thing.type == "ARMATURE" for thing in scene.objects),
        "bones": len(armature.data.bones),
        "vertices": len(played[0]),
        "frames": last - first,
        "actions": len(bpy.data.actions),
        "textures": len(bpy.data.images),
        "played_m": [largest_distance_m(played[0], played[1]), largest_distance_m(played[1], played[2])],
        "bent_m": max(moved),
        "bent_share": sum(distance > 1e-3 for distance in moved) / len(moved),
        "first_vertices": [list(vertex) for vertex in played[0][:: max(1, len(played[0]) // 200)]],
    }


def measure_bvh(path: Path) -> dict[str, Any]:
    """Imports and plays; `heads` are the joints in the last frame, in metres."""
    prepare_scene()
    # Blender 3.4 opens the file in a mode that Debian's Python 3.11 no longer has.
    io_anim_bvh.import_bvh.open = lambda name, _, **rest: open(name, **rest)  # noqa: SIM115
    bpy.ops.import_anim.bvh(filepath=str(path), global_scale=0.01, update_scene_fps=True, update_scene_duration=True)
    scene = bpy.context.scene
    armature = next(thing for thing in scene.objects if thing.type == "ARMATURE")
    scene.frame_set(scene.frame_end)
    heads = {bone.name: list(armature.matrix_world @ bone.head) for bone in armature.pose.bones}
    return {"bones": len(armature.data.bones), "frames": scene.frame_end, "fps": scene.render.fps, "heads": heads}


def main(glb: str, bvh: str, folder: str) -> None:
    measured = {
        "version": bpy.app.version_string,
        "glb": measure_glb(Path(glb), Path(folder)),
        "bvh": measure_bvh(Path(bvh)),
    }
    (Path(folder) / "measured.json").write_text(json.dumps(measured), encoding="utf-8")


if "--" in sys.argv:  # Blender's own arguments come before
    main(*sys.argv[sys.argv.index("--") + 1 :])
