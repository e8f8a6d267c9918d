/** Pictures on people. */

import * as THREE from "three";

/** Pictures are sharp also where they are seen from the side. */
export const ANISOTROPY = 8;

/**
 * Decodes a picture, v downwards.
 *
 * @throws DOMException if it is no picture.
 */
export async function readTexture(picture: Blob): Promise<THREE.Texture> {
  const bitmap = await createImageBitmap(picture, { premultiplyAlpha: "none", colorSpaceConversion: "none" });
  const texture = new THREE.Texture(bitmap);
  texture.flipY = false;
  texture.colorSpace = THREE.SRGBColorSpace;
  texture.anisotropy = ANISOTROPY;
  texture.needsUpdate = true;
  return texture;
}

/** Frees a texture and its picture. */
export function freeTexture(texture: THREE.Texture): void {
  texture.dispose();
  (texture.image as ImageBitmap).close();
}
