// Shows a receiver's live stream in a scene of three.js: `const stop = watch("http://127.0.0.1:8080/?token=…", scene)`.
//
// Runs in a page that the receiver serves, in Electron and in Node: browsers refuse the stream to pages from elsewhere.
// The stream is described in docs/web.md, "The live stream for programs".

import * as THREE from "three";

/** Keeps a mesh for each person in `scene`; calls `onFrame` with each frame's record; returns what ends it. */
export function watch(address, scene, onFrame = () => {}) {
  const place = new URL(address);
  const socket = new WebSocket(`${place.protocol.replace("http", "ws")}//${place.host}/live${place.search}`);
  socket.binaryType = "arraybuffer";
  const topologies = new Map();
  const meshes = new Map();
  const say = (message) => socket.send(JSON.stringify(message));
  socket.onopen = () => say({ type: "watch", session: null, mesh: "surface", preview: false });
  socket.onmessage = ({ data }) => {
    if (typeof data === "string") return; // `hello` and `sessions`
    const length = new DataView(data).getUint32(0, true);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
    const array = ({ offset, count }, Kind, columns) => new Kind(data, 4 + length + offset, columns * count);
    if (header.type === "topology") {
      const indices = array(header.faces, header.faces.type === "u16" ? Uint16Array : Uint32Array, 3);
      topologies.set(header.name, new THREE.BufferAttribute(indices, 1));
    }
    if (header.type !== "frame") return;
    say({ type: "shown", id: header.id });
    const seen = new Set();
    for (const person of header.people) {
      const key = `${header.session}/${person.id}`;
      seen.add(key);
      if (!meshes.has(key)) {
        const mesh = new THREE.Mesh(new THREE.BufferGeometry(), new THREE.MeshStandardMaterial({ roughness: 0.9 }));
        meshes.set(key, mesh);
        scene.add(mesh);
      }
      const { geometry, material, scale, position } = meshes.get(key);
      geometry.setIndex(topologies.get(person.topology));
      geometry.setAttribute("position", new THREE.BufferAttribute(array(person.vertices, Uint16Array, 3), 3));
      // Ours is y down and z forward, three's y up and z backward.
      scale.fromArray(person.scale).multiply(new THREE.Vector3(1, -1, -1));
      position.fromArray(person.origin).multiply(new THREE.Vector3(1, -1, -1));
      if (person.colours) {
        const colours = new THREE.BufferAttribute(array(person.colours, Uint8Array, 3).slice(), 3, true);
        for (let i = 0; i < colours.count; i++)
          colours.setXYZ(i, ...new THREE.Color(colours.getX(i), colours.getY(i), colours.getZ(i)).convertSRGBToLinear());
        geometry.setAttribute("color", colours);
        material.vertexColors = material.needsUpdate = true;
      }
      geometry.computeVertexNormals();
    }
    for (const [key, mesh] of meshes)
      if (key.startsWith(`${header.session}/`) && !seen.has(key)) {
        scene.remove(mesh);
        meshes.delete(key);
      }
    onFrame(header.record);
  };
  return () => socket.close();
}
