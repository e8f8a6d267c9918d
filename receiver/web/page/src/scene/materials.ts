/** How people look. */

import * as THREE from "three";

export type Look = "solid" | "wireframe" | "colour";
export const LOOKS: readonly Look[] = ["solid", "wireframe", "colour"];

export interface Palette {
  background: string;
  clay: string;
  line: string;
  lineStrong: string;
  shadow: string;
}

export class Materials {
  readonly clay = matt({});
  /** Vertex colours in sRGB, as the stream sends them. */
  readonly colours = matt({ vertexColors: true });
  /** Vertex colours in linear light, as glTF stores them. */
  readonly linearColours = matt({ vertexColors: true });
  /** Writes depth behind the wireframe in the colour of the background, so that hidden lines are hidden. */
  readonly hidden = new THREE.MeshBasicMaterial({
    polygonOffset: true,
    polygonOffsetFactor: 1,
    polygonOffsetUnits: 1,
    toneMapped: false,
  });
  readonly lines = new THREE.MeshBasicMaterial({ wireframe: true, toneMapped: false });
  /** People as their shadows see them. */
  readonly depth = untexturedDepth();

  constructor() {
    // Ridges are lighter and creases darker, as where clay was rubbed: curvature, from the normals beside each pixel.
    this.clay.onBeforeCompile = (shader) => {
      shader.fragmentShader = shader.fragmentShader.replace(
        "#include <lights_fragment_begin>",
        `vec3 across = dFdx(normal), along = dFdy(normal);
        float bend = (across.x + along.y) / max(length(fwidth(vViewPosition)), 1e-5);
        diffuseColor.rgb *= clamp(1.0 + 0.006 * bend, 0.7, 1.2);
        material.diffuseColor = diffuseColor.rgb;
        #include <lights_fragment_begin>`,
      );
    };
    // Converted in the shader: eight linear bits have too few dark levels, and the processor has better to do.
    this.colours.onBeforeCompile = (shader) => {
      shader.vertexShader = shader.vertexShader.replace(
        "#include <color_vertex>",
        `#include <color_vertex>
        vColor.rgb = mix(pow((vColor.rgb + 0.055) / 1.055, vec3(2.4)), vColor.rgb / 12.92, vec3(lessThan(vColor.rgb, vec3(0.04045))));`,
      );
    };
  }

  set palette(palette: Palette) {
    this.clay.color.set(palette.clay);
    this.hidden.color.set(palette.background);
    this.lines.color.set(palette.lineStrong);
  }
}

/**
 * Depth that no texture changes. The renderer gives this material the texture of whoever casts the shadow, and would keep
 * drawing with it after it has been freed.
 */
function untexturedDepth(): THREE.MeshDepthMaterial {
  const material = new THREE.MeshDepthMaterial();
  Object.defineProperty(material, "map", { get: () => null, set: () => undefined });
  return material;
}

/** Skin and cloth: rough, with a faint highlight at grazing light. */
export function matt(parameters: THREE.MeshStandardMaterialParameters): THREE.MeshStandardMaterial {
  return new THREE.MeshStandardMaterial({ ...parameters, roughness: 0.8, metalness: 0 });
}
