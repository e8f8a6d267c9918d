/** Draws a scene in a WebXR session instead of on the page. */

import * as THREE from "three";

/** From the viewer to the people. */
const DISTANCE_M = 2;

export interface Presented {
  renderer: THREE.WebGLRenderer;
  scene: THREE.Scene;
  camera: THREE.PerspectiveCamera;
  people: THREE.Object3D;
  /** What a room has itself. */
  hidden: readonly THREE.Object3D[];
  /** Where people stand: in the room, that is on its floor, before the viewer. */
  feet: THREE.Vector3;
}

/**
 * Draws until the session ends; the scene is then as it was.
 *
 * @param ended is called then, or when the session cannot begin.
 * @throws Error if the graphics card cannot draw for the device.
 */
export async function present(session: XRSession, presented: Presented, ended: () => void): Promise<void> {
  const { renderer, scene, camera, people, hidden, feet } = presented;
  const { xr } = renderer;
  const { fov } = camera;
  const { background } = scene;
  const restore = () => {
    xr.removeEventListener("sessionend", restore);
    renderer.setAnimationLoop(null);
    xr.enabled = false;
    scene.background = background;
    people.position.set(0, 0, 0);
    for (const object of hidden) object.visible = true;
    // The device has set it.
    camera.fov = fov;
    ended();
  };
  xr.addEventListener("sessionend", restore);
  xr.enabled = true;
  xr.setReferenceSpaceType("local-floor");
  try {
    await xr.setSession(session);
  } catch (error) {
    restore();
    throw error;
  }
  scene.background = null;
  for (const object of hidden) object.visible = false;
  people.position.set(-feet.x, -feet.y, -DISTANCE_M - feet.z);
  renderer.setAnimationLoop(() => renderer.render(scene, camera));
}
