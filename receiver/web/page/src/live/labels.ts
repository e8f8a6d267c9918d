/** The label groups in the order of the stack, with the names and colours that the page shows. */

export interface Label {
  readonly key: string;
  readonly name: string;
  /** A custom property of styles/tokens.css. */
  readonly colour: string;
}

export const LABELS: readonly Label[] = [
  { key: "header", name: "Header", colour: "--label-header" },
  { key: "root", name: "Root", colour: "--label-root" },
  { key: "torso", name: "Torso", colour: "--label-torso" },
  { key: "head", name: "Head", colour: "--label-head" },
  { key: "left_arm", name: "Left arm", colour: "--label-left-arm" },
  { key: "right_arm", name: "Right arm", colour: "--label-right-arm" },
  { key: "left_leg", name: "Left leg", colour: "--label-left-leg" },
  { key: "right_leg", name: "Right leg", colour: "--label-right-leg" },
  { key: "hands", name: "Hands", colour: "--label-hands" },
  { key: "shape", name: "Shape", colour: "--label-shape" },
  { key: "surface", name: "Surface", colour: "--label-surface" },
  { key: "appearance", name: "Appearance", colour: "--label-appearance" },
];
