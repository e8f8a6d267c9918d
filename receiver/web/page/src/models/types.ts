/** What the receiver says about stored models. */

import type { Keypoint, Vector } from "../protocol/messages.ts";

export interface ModelPerson {
  /** In the model, from 0. */
  number: number;
  obj: string;
  glb: string;
  ply: string;
  /** The surface with its texture, GLB. */
  textured: string | null;
  /** The body with its texture and skeleton, GLB. */
  body: string | null;
  /** The same for Apple's viewers. */
  usdz: string | null;
  /** Attribute → kind of what the body wears; null if it cannot be changed. */
  wears: Readonly<Record<string, string>> | null;
  /** Attributes of `wears` that the picture does not show surely. */
  unsure: readonly string[];
  keypoints_2d: readonly Keypoint[];
  joints_3d: readonly Vector[];
  /** Which limbs the picture shows; null in models of older receivers. */
  seen: Readonly<Record<string, boolean>> | null;
}

/** Who wears one of the values of an attribute wears one of the others of another. */
export interface WearRule {
  attribute: string;
  values: readonly string[];
  other: string;
  others: readonly string[];
  /** What is worn instead of the values, where the others stay. */
  instead: readonly string[];
  /** What is worn of the others, where the values stay. */
  implied: string;
}

export interface Model {
  id: string;
  /** Those who are in the model, and the numbers of those who were taken out. */
  people: readonly ModelPerson[];
  hidden: readonly number[];
  together: readonly WearRule[];
  /** Of the labels alone, and of everything that the people travelled in; older receivers have not counted that. */
  bytes: number;
  sent: Readonly<Record<"labels" | "clothes" | "colours" | "total", number>> | null;
  stages_ms: Readonly<Record<string, number>>;
  name?: string;
  created_at?: string | number;
  /** Of the uploaded picture, pixels; the keypoints' unit. */
  width?: number;
  height?: number;
}

export interface ModelSummary {
  id: string;
  name: string;
  created_at: string | number;
  people: number;
  bytes: number;
}
