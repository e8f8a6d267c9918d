// What three.js finds in a GLB or BVH file, as tests/support/file_readers.py says it: node three_reader.mjs PAGE FILE

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [, , page, file] = process.argv;
const load = (name) => import(pathToFileURL(`${page}/node_modules/three/${name}`).href);
const THREE = await load("build/three.module.js");
const { GLTFLoader } = await load("examples/jsm/loaders/GLTFLoader.js");

const { BVHLoader } = await load("examples/jsm/loaders/BVHLoader.js");

const content = readFileSync(file);
const facts = { up: "y" };
await (file.endsWith(".bvh") ? readSkeleton() : readScene());
process.stdout.write(JSON.stringify(facts));

function readSkeleton() {
  const { skeleton, clip } = new BVHLoader().parse(content.toString());
  skeleton.bones[0].updateMatrixWorld(true);
  // At rest; centimetres.
  const points = skeleton.bones.map((bone) => bone.getWorldPosition(new THREE.Vector3()).multiplyScalar(0.01));
  const { min, max } = new THREE.Box3().setFromPoints(points);
  [facts.low, facts.high] = [min.toArray(), max.toArray()];
  facts.bones = skeleton.bones.filter(({ name }) => name !== "ENDSITE").length;
  facts.seconds = clip.duration;
}

async function readScene() {
  // Node has no decoder of pictures: the width is read from the head of the JPEG.
  const loader = new GLTFLoader().register((parser) => ({
    name: "pictures",
    async loadTexture(index) {
      const { bufferView } = parser.json.images[parser.json.textures[index].source];
      const bytes = new DataView(await parser.getDependency("bufferView", bufferView));
      let at = 2;
      while (bytes.getUint16(at) < 0xffc0 || bytes.getUint16(at) > 0xffc2) at += 2 + bytes.getUint16(at + 2);
      facts.texture = Math.max(bytes.getUint16(at + 5), bytes.getUint16(at + 7));
      return new THREE.Texture();
    },
  }));
  const bytes = content.buffer.slice(content.byteOffset, content.byteOffset + content.byteLength);
  const { scene, animations } = await loader.parseAsync(bytes, "");
  scene.updateMatrixWorld(true);
  scene.traverse((part) => {
    if (!part.isMesh || facts.vertices) return;
    const { position, color } = part.geometry.attributes;
    facts.vertices = position.count;
    const box = new THREE.Box3();
    const point = new THREE.Vector3();
    for (let i = 0; i < position.count; i++) box.expandByPoint(part.getVertexPosition(i, point).applyMatrix4(part.matrixWorld));
    [facts.low, facts.high] = [box.min.toArray(), box.max.toArray()];
    if (color && part.material.vertexColors) {
      facts.colour = [0, 0, 0];
      for (let i = 0; i < color.count; i++)
        [color.getX(i), color.getY(i), color.getZ(i)].forEach((level, c) => (facts.colour[c] += level / color.count));
    }
    if (part.isSkinnedMesh) facts.bones = part.skeleton.bones.length;
  });
  if (animations.length) facts.seconds = animations[0].duration;
}
