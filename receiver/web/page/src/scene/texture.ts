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

/** A short text, twice as wide as high. */
export function textTexture(text: string, colour: string): THREE.Texture {
  const canvas = document.createElement("canvas");
  canvas.width = 128;
  canvas.height = 64;
  const context = canvas.getContext("2d")!;
  context.font = "500 44px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillStyle = colour;
  context.fillText(text, 64, 34);
  const texture = new THREE.CanvasTexture(canvas);
  texture.colorSpace = THREE.SRGBColorSpace;
  texture.anisotropy = ANISOTROPY;
  return texture;
}

/** Frees a texture and its picture. */
export function freeTexture(texture: THREE.Texture): void {
  texture.dispose();
  (texture.image as ImageBitmap).close();
}
