"""USDZ: the characters of a session as a UsdSkel scene, for Apple's viewers, Houdini, Maya and Omniverse.

Needs the package `usd-core`, Bodywire's extra `usd`. Specification: OpenUSD's UsdSkel schemas and USDZ file format.
"""

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from common.arrays import Float64Array, FloatArray
from common.errors import UsageError
from receiver.export.character import Character, Motion, View
from receiver.mesh.face_shapes import FaceShapes
from receiver.mesh.glb import LINEAR
from receiver.mesh.mesh_texture import MeshTexture
from receiver.mesh.triangle_mesh import vertex_normals

logger = logging.getLogger(__name__)

# Width of the film of a camera: only its ratio to the focal length matters.
_APERTURE_MM = 36.0


def encode_usdz(characters: Sequence[Character], view: View | None = None) -> bytes:
    """A USDZ file, with the median rate of the first character, and with the camera if `view` says where it is.

    Raises:
        UsageError: `usd-core` is not installed.
    """
    check_installed()
    from pxr import Usd, UsdGeom

    with tempfile.TemporaryDirectory(prefix="bodywire-") as folder, _logged_diagnostics():
        layer = Path(folder) / "session.usdc"
        stage = Usd.Stage.CreateNew(str(layer))
        UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
        UsdGeom.SetStageMetersPerUnit(stage, 1.0)
        rate = characters[0].motion.frame_rate
        stage.SetTimeCodesPerSecond(rate)
        stage.SetFramesPerSecond(rate)
        stage.SetStartTimeCode(0.0)
        stage.SetEndTimeCode(rate * max(float(character.motion.times_s[-1]) for character in characters))
        scene = UsdGeom.Xform.Define(stage, "/session").GetPrim()
        stage.SetDefaultPrim(scene)
        for character in characters:
            _add_character(stage, character, rate, Path(folder))
        if view is not None:
            _add_camera(stage, view)
        stage.GetRootLayer().Save()
        return _packaged(layer)


@contextlib.contextmanager
def _logged_diagnostics() -> Iterator[None]:
    """What usd-core would write to the terminal is logged."""
    from pxr import UsdUtils

    diagnostics = UsdUtils.CoalescingDiagnosticDelegate()
    try:
        yield
    finally:
        for each in diagnostics.TakeUncoalescedDiagnostics():
            logger.debug("usd-core: %s", each.commentary)


def _packaged(layer: Path) -> bytes:
    """A package of a layer and the textures beside it, by the names that the layer has for them."""
    from pxr import Sdf, Usd

    package = layer.with_suffix(".usdz")
    zip_file = Sdf.ZipFileWriter if hasattr(Sdf, "ZipFileWriter") else Usd.ZipFileWriter
    with zip_file.CreateNew(str(package)) as writer:
        for file in (layer, *sorted(layer.parent.glob("*.jpg"))):
            writer.AddFile(str(file), file.name)
    return package.read_bytes()


def _add_camera(stage: Any, view: View) -> None:
    from pxr import Gf, UsdGeom

    camera, lens, placement = UsdGeom.Camera.Define(stage, "/session/camera"), view.lens, view.placement
    matrix = np.eye(4)
    matrix[:3, :3], matrix[3, :3] = placement.rotation.T, placement.position  # USD's vectors are rows
    camera.AddTransformOp().Set(Gf.Matrix4d(matrix.tolist()))
    camera.CreateHorizontalApertureAttr(_APERTURE_MM)
    camera.CreateVerticalApertureAttr(_APERTURE_MM * lens.height / lens.width)
    camera.CreateFocalLengthAttr(_APERTURE_MM * lens.focal_px / lens.width)


def check_installed() -> None:
    """Checks that `usd-core` can be imported. Raises UsageError if it cannot."""
    try:
        import pxr.UsdSkel  # noqa: F401
    except ImportError as error:
        raise UsageError('--format usdz needs usd-core, which is not installed: pip install "bodywire[usd]"') from error


def _add_character(stage: Any, character: Character, rate: float, folder: Path) -> None:
    """Adds a person; `folder` takes the texture, which the package then contains."""
    from pxr import UsdGeom, UsdSkel

    path = f"/session/{_identifier(character.name)}"
    root = UsdSkel.Root.Define(stage, path)
    for time_s, shown in character.switches(stage.GetEndTimeCode() / rate):
        root.CreateVisibilityAttr().Set(UsdGeom.Tokens.inherited if shown else UsdGeom.Tokens.invisible, time_s * rate)
    joints = _joint_paths(character)
    skeleton = _add_skeleton(stage, f"{path}/skeleton", character, joints)
    animation = _add_animation(stage, f"{path}/animation", character, joints, rate)
    binding = UsdSkel.BindingAPI.Apply(skeleton.GetPrim())
    binding.CreateAnimationSourceRel().SetTargets([animation.GetPath()])
    mesh = _add_mesh(stage, f"{path}/mesh", character)
    if (face := character.face) is not None:
        _add_face(stage, mesh, animation, face, character.motion, rate)
    _add_material(stage, mesh, character, folder)
    UsdSkel.BindingAPI(mesh.GetPrim()).CreateSkeletonRel().SetTargets([skeleton.GetPath()])
    root.CreateExtentAttr(_vectors(_reach(character)))


def _add_skeleton(stage: Any, path: str, character: Character, joints: Sequence[str]) -> Any:
    from pxr import UsdSkel, Vt

    skeleton = UsdSkel.Skeleton.Define(stage, path)
    skeleton.CreateJointsAttr(joints)
    for attribute, positions in (
        (skeleton.CreateBindTransformsAttr, character.rest_positions),
        (skeleton.CreateRestTransformsAttr, character.offsets),
    ):
        matrices = np.tile(np.eye(4), (len(positions), 1, 1))
        matrices[:, 3, :3] = positions  # USD's vectors are rows
        attribute(Vt.Matrix4dArray.FromNumpy(matrices))
    return skeleton


def _add_animation(stage: Any, path: str, character: Character, joints: Sequence[str], rate: float) -> Any:
    """The poses; constant translations and scales have no time samples of their own in UsdSkel."""
    from pxr import UsdSkel, Vt

    motion = character.motion
    animation = UsdSkel.Animation.Define(stage, path)
    animation.CreateJointsAttr(joints)
    animation.CreateScalesAttr(Vt.Vec3hArray.FromNumpy(np.ones((len(joints), 3), np.float16)))
    rotations, translations = animation.CreateRotationsAttr(), animation.CreateTranslationsAttr()
    offsets = character.offsets.astype(np.float32)
    for time_s, rotation, position in zip(motion.times_s, motion.rotations, motion.root_positions, strict=True):
        offsets[0] = position
        rotations.Set(Vt.QuatfArray.FromNumpy(rotation), time_s * rate)
        translations.Set(_vectors(offsets), time_s * rate)
    return animation


def _add_face(stage: Any, mesh: Any, animation: Any, face: FaceShapes, motion: Motion, rate: float) -> None:
    """The blend shapes of a face, and their weights over time."""
    from pxr import UsdSkel, Vt

    paths = [mesh.GetPath().AppendChild(name) for name in face.names]
    starts = np.searchsorted(face.action, np.arange(len(paths) + 1)).tolist()
    vertices = face.vertices[face.place].astype(np.int32)
    for path, (start, end) in zip(paths, pairwise(starts), strict=True):
        shape = UsdSkel.BlendShape.Define(stage, path)
        shape.CreateOffsetsAttr(_vectors(face.offsets[start:end]))
        shape.CreatePointIndicesAttr(Vt.IntArray.FromNumpy(vertices[start:end]))
    binding = UsdSkel.BindingAPI(mesh.GetPrim())
    binding.CreateBlendShapesAttr(face.names)
    binding.CreateBlendShapeTargetsRel().SetTargets(paths)
    animation.CreateBlendShapesAttr(face.names)
    weights = animation.CreateBlendShapeWeightsAttr()
    assert motion.activations is not None
    for time_s, activations in zip(motion.times_s, motion.activations, strict=True):
        weights.Set(Vt.FloatArray.FromNumpy(np.ascontiguousarray(activations)), time_s * rate)


def _add_mesh(stage: Any, path: str, character: Character) -> Any:
    from pxr import UsdGeom, UsdSkel, Vt

    vertices, faces, skeleton = character.bound_mesh.vertices, character.mesh.faces, character.skeleton
    mesh = UsdGeom.Mesh.Define(stage, path)
    mesh.CreatePointsAttr(_vectors(vertices))
    mesh.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(faces.ravel()))
    mesh.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(np.full(len(faces), 3, np.int32)))
    mesh.CreateNormalsAttr(_vectors(vertex_normals(vertices, faces)))
    mesh.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    mesh.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    mesh.CreateExtentAttr(_vectors(np.stack([vertices.min(axis=0), vertices.max(axis=0)])))
    binding = UsdSkel.BindingAPI.Apply(mesh.GetPrim())
    influences = skeleton.vertex_joints.shape[1]
    binding.CreateJointIndicesPrimvar(False, influences).Set(
        Vt.IntArray.FromNumpy(skeleton.vertex_joints.ravel().astype(np.int32))
    )
    binding.CreateJointWeightsPrimvar(False, influences).Set(Vt.FloatArray.FromNumpy(skeleton.vertex_weights.ravel()))
    return mesh


def _add_material(stage: Any, mesh: Any, character: Character, folder: Path) -> None:
    """Vertex colours, for viewers that draw no materials, and a material with the texture or else those colours."""
    from pxr import Sdf, UsdGeom, UsdShade

    if character.mesh.colours is not None:
        mesh.CreateDisplayColorPrimvar(UsdGeom.Tokens.vertex).Set(_vectors(LINEAR[character.mesh.colours]))
    path = mesh.GetPath().GetParentPath().AppendChild("material")
    if character.texture is not None:
        colour = _add_texture(stage, path, mesh, character.texture, folder / f"{_identifier(character.name)}.jpg")
    elif character.mesh.colours is not None:
        colour = _reader(stage, path, "UsdPrimvarReader_float3", "displayColor", Sdf.ValueTypeNames.Float3)
    else:
        return
    material = UsdShade.Material.Define(stage, path)
    surface = UsdShade.Shader.Define(stage, path.AppendChild("surface"))
    surface.CreateIdAttr("UsdPreviewSurface")
    surface.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f).ConnectToSource(colour)
    surface.CreateInput("roughness", Sdf.ValueTypeNames.Float).Set(0.9)
    output = surface.CreateOutput("surface", Sdf.ValueTypeNames.Token)
    material.CreateSurfaceOutput().ConnectToSource(output)
    UsdShade.MaterialBindingAPI.Apply(mesh.GetPrim()).Bind(material)


def _add_texture(stage: Any, material: Any, mesh: Any, texture: MeshTexture, file: Path) -> Any:
    """The colour of a texture at coordinates of the triangles' corners; v is upwards in USD."""
    from pxr import Sdf, UsdGeom, UsdShade, Vt

    file.write_bytes(texture.jpeg)
    coordinates = np.ascontiguousarray(texture.corners.coordinates * [1, -1] + [0, 1], np.float32)
    primvars = UsdGeom.PrimvarsAPI(mesh)
    st = primvars.CreatePrimvar("st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.faceVarying)
    st.Set(Vt.Vec2fArray.FromNumpy(coordinates))
    st.SetIndices(Vt.IntArray.FromNumpy(texture.corners.faces.ravel()))
    sampler = UsdShade.Shader.Define(stage, material.AppendChild("texture"))
    sampler.CreateIdAttr("UsdUVTexture")
    sampler.CreateInput("file", Sdf.ValueTypeNames.Asset).Set(file.name)
    sampler.CreateInput("sourceColorSpace", Sdf.ValueTypeNames.Token).Set("sRGB")
    for wrap in ("wrapS", "wrapT"):
        sampler.CreateInput(wrap, Sdf.ValueTypeNames.Token).Set("clamp")
    place = _reader(stage, material, "UsdPrimvarReader_float2", "st", Sdf.ValueTypeNames.Float2)
    sampler.CreateInput("st", Sdf.ValueTypeNames.Float2).ConnectToSource(place)
    return sampler.CreateOutput("rgb", Sdf.ValueTypeNames.Float3)


def _reader(stage: Any, material: Any, kind: str, primvar: str, value: Any) -> Any:
    """The output of a shader that reads a primvar of the mesh."""
    from pxr import Sdf, UsdShade

    reader = UsdShade.Shader.Define(stage, material.AppendChild(f"{primvar}Reader"))
    reader.CreateIdAttr(kind)
    reader.CreateInput("varname", Sdf.ValueTypeNames.String).Set(primvar)
    return reader.CreateOutput("result", value)


def _joint_paths(character: Character) -> list[str]:
    """UsdSkel's names of the joints, which have those of their parents: `root/spine05/spine04`."""
    paths: list[str] = []
    for name, parent in zip(character.skeleton.names, character.skeleton.parents.tolist(), strict=True):
        paths.append(_identifier(name) if parent < 0 else f"{paths[parent]}/{_identifier(name)}")
    return paths


def _identifier(name: str) -> str:
    """`upperarm01.L` → `upperarm01_L`: USD's names have letters, digits and underscores."""
    from pxr import Tf

    identifier: str = Tf.MakeValidIdentifier(name)
    return identifier


def _reach(character: Character) -> Float64Array:
    """(2, 3) corners of a box that contains the character in every pose of its motion."""
    skeleton, rest = character.skeleton, character.rest_positions
    chain_m = np.linalg.norm(character.offsets, axis=1)
    chain_m[0] = 0.0
    for joint, parent in enumerate(skeleton.parents.tolist()):
        if parent >= 0:
            chain_m[joint] += chain_m[parent]
    strongest = skeleton.vertex_joints[:, 0]
    reach_m = float((chain_m[strongest] + np.linalg.norm(character.mesh.vertices - rest[strongest], axis=1)).max())
    positions = character.motion.root_positions
    return np.stack([positions.min(axis=0) - reach_m, positions.max(axis=0) + reach_m])


def _vectors(values: FloatArray | Float64Array) -> Any:
    from pxr import Vt

    return Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(values, np.float32))
