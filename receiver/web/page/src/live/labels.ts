/** The label groups in the order of the stack, with the names that the page shows, and a colour of styles/tokens.css. */

const LABELLED = [
  ["header", "Envelope", "What every packet begins with: number of the frame, time, checksum"],
  ["root", "Place and direction", "Where a person is, which way they face, and the camera (root)"],
  ["torso", "Torso", "Pose of spine and hips"],
  ["head", "Head", "Pose of neck and head"],
  ["left_arm", "Left arm", "Pose of the arm on the person's left"],
  ["right_arm", "Right arm", "Pose of the arm on the person's right"],
  ["left_leg", "Left leg", "Pose of the leg on the person's left"],
  ["right_leg", "Right leg", "Pose of the leg on the person's right"],
  ["hands", "Hands", "How far the fingers are closed"],
  ["face", "Face", "Brows, cheeks and mouth"],
  ["eyes", "Eyes", "Lids, and where they look"],
  ["left_fingers", "Left fingers", "Each finger of the left hand"],
  ["right_fingers", "Right fingers", "Each finger of the right hand"],
  ["shape", "Build", "Height and proportions; sent until they are known (shape)"],
  ["head_shape", "Head shape", "Proportions of the face; sent until they are known (head_shape)"],
  ["surface", "Clothes and hair", "Shape of what a person wears; sent until it is known (surface)"],
  ["appearance", "Colours", "Colours of skin, hair and clothes; sent until they are known (appearance)"],
] as const;

export const LABELS = LABELLED.map(([key, name, meaning]) => {
  return { key, name, meaning, colour: `var(--label-${key.replace("_", "-")})` };
});
export type Label = (typeof LABELS)[number];
