/** The label groups in the order of the stack, with the names that the page shows. */

const LABELLED: readonly [key: string, name: string, meaning: string][] = [
  ["header", "Envelope", "What every packet begins with: number of the frame, time, checksum"],
  ["root", "Place and direction", "Where a person is, which way they face, and the camera (root)"],
  ["torso", "Torso", "Pose of spine and hips"],
  ["head", "Head", "Pose of neck and head"],
  ["left_arm", "Left arm", "Pose of the arm on the person's left"],
  ["right_arm", "Right arm", "Pose of the arm on the person's right"],
  ["left_leg", "Left leg", "Pose of the leg on the person's left"],
  ["right_leg", "Right leg", "Pose of the leg on the person's right"],
  ["hands", "Hands", "How far the fingers are closed"],
  ["shape", "Build", "Height and proportions; sent until they are known (shape)"],
  ["surface", "Clothes and hair", "Shape of what a person wears; sent until it is known (surface)"],
  ["appearance", "Colours", "Colours of skin, hair and clothes; sent until they are known (appearance)"],
];

export interface Label {
  readonly key: string;
  readonly name: string;
  readonly meaning: string;
  /** A colour of styles/tokens.css. */
  readonly colour: string;
}

export const LABELS: readonly Label[] = LABELLED.map(([key, name, meaning]) => {
  const colour = `var(--label-${key.replace("_", "-")})`;
  return { key, name, meaning, colour };
});
