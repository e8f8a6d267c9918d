/** The light of the scene, and the ground that shows its shadow. */

import * as THREE from "three";

const KEY = 2.8;
const SHADOW_PIXELS = 1024;
/** Half the side of the square around the people that has shadows. */
const SHADOW_M = 2.2;

/** Light from the front left, whose shadows of people fall on themselves and on the ground. */
export function keyLight(): THREE.DirectionalLight {
  const key = new THREE.DirectionalLight(0xfff8ef, KEY);
  const { shadow } = key;
  key.castShadow = true;
  shadow.mapSize.set(SHADOW_PIXELS, SHADOW_PIXELS);
  shadow.radius = 6;
  shadow.blurSamples = 16;
  shadow.normalBias = 0.02;
  const { camera } = shadow;
  [camera.left, camera.right, camera.bottom, camera.top] = [-SHADOW_M, SHADOW_M, -SHADOW_M, SHADOW_M];
  [camera.near, camera.far] = [0.5, 8];
  return key;
}

/** What shows the key light's shadow on the ground. */
export function castShadow(): THREE.Mesh<THREE.PlaneGeometry, THREE.ShadowMaterial> {
  const ground = new THREE.PlaneGeometry(4 * SHADOW_M, 4 * SHADOW_M).rotateX(-Math.PI / 2);
  const cast = new THREE.Mesh(
    ground,
    new THREE.ShadowMaterial({ opacity: 0.32, depthWrite: false, toneMapped: false }),
  );
  cast.receiveShadow = true;
  cast.renderOrder = -1;
  return cast;
}
