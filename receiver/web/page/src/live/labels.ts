/** The label groups in the order of the stack, with the names and colours that the page shows. */

export interface Label {
  readonly key: string;
  readonly name: string;
  readonly meaning: string;
  /** A custom property of styles/tokens.css. */
  readonly colour: string;
}

export const LABELS: readonly Label[] = [
  {
    key: "header",
    name: "Envelope",
    meaning: "What every packet begins with: number of the frame, time, checksum",
    colour: "--label-header",
  },
  {
    key: "root",
    name: "Place and direction",
    meaning: "Where a person is, which way they face, and the camera (root)",
    colour: "--label-root",
  },
  { key: "torso", name: "Torso", meaning: "Pose of spine and hips", colour: "--label-torso" },
  { key: "head", name: "Head", meaning: "Pose of neck and head", colour: "--label-head" },
  { key: "left_arm", name: "Left arm", meaning: "Pose of the arm on the person's left", colour: "--label-left-arm" },
  {
    key: "right_arm",
    name: "Right arm",
    meaning: "Pose of the arm on the person's right",
    colour: "--label-right-arm",
  },
  { key: "left_leg", name: "Left leg", meaning: "Pose of the leg on the person's left", colour: "--label-left-leg" },
  {
    key: "right_leg",
    name: "Right leg",
    meaning: "Pose of the leg on the person's right",
    colour: "--label-right-leg",
  },
  { key: "hands", name: "Hands", meaning: "How far the fingers are closed", colour: "--label-hands" },
  {
    key: "shape",
    name: "Build",
    meaning: "Height and proportions; sent until they are known (shape)",
    colour: "--label-shape",
  },
  {
    key: "surface",
    name: "Clothes and hair",
    meaning: "Shape of what a person wears; sent until it is known (surface)",
    colour: "--label-surface",
  },
  {
    key: "appearance",
    name: "Colours",
    meaning: "Colours of skin, hair and clothes; sent until they are known (appearance)",
    colour: "--label-appearance",
  },
];
