/** What the receiver says, as in docs/protocol.md and docs/outputs.md. */

/** x, y, z in metres, camera space: x right, y down, z forward. */
export type Vector = readonly [number, number, number];

/** x, y in pixels of the source picture, and a confidence 0…1. */
export type Keypoint = readonly [number, number, number];

export interface PersonRecord {
  id: number;
  keypoints_2d: readonly Keypoint[];
  joints_3d: readonly Vector[];
  /** Which limbs a camera sees; the pose of the others is invented. Older sessions do not say it. */
  seen?: Readonly<Record<string, boolean>>;
  surface: string | null;
  body: string | null;
}

/** A line of frames.jsonl. */
export interface FrameRecord {
  seq: number;
  session: number;
  source: string;
  captured_at: number;
  age_ms: number | null;
  clock_error_ms: number | null;
  bytes: Readonly<Record<string, number>>;
  rho: Readonly<Record<string, number | null>>;
  stages_ms: Readonly<Record<string, number | null>>;
  people: readonly PersonRecord[];
  /** Of the source picture. */
  camera?: { width: number; height: number };
}

/** What the sender last reported about itself and its link. */
export interface LinkReport {
  capacity_bps?: number | null;
  /** The link was never seen full: its capacity is a lower bound. */
  capacity_at_least?: boolean;
  round_trip_ms?: number | null;
  sender_stages_ms?: Readonly<Record<string, number | null>>;
  /** Most people that the sender follows at a time. */
  people_limit?: number | null;
  /** Frames a second that a live camera gives the sender. */
  camera_fps?: number | null;
}

/** Everything on the link of a session, in both directions, headers of TCP and IP included. */
export interface Traffic {
  bits_per_second: number;
  /** Of that what is neither labels nor blobs: headers, encryption, acknowledgements, heartbeats. */
  wrapping_bits_per_second: number;
  mean_bits_per_second: number;
}

export interface SessionInfo {
  number: number;
  sender: string;
  source: string;
  connected: boolean;
}

export type MeshKind = "surface" | "body";

/** Index buffers are as wide as the number of vertices needs. */
export type Indices = Uint16Array | Uint32Array;

export interface Topology {
  type: "topology";
  name: string;
  faces: Indices;
  /** Of each vertex the place of its limb in `seen`, a higher number for the trunk; null if they are not known. */
  limbs: Uint8Array | null;
}

/** One person of a live frame: position = origin + scale · vertices. The arrays are views of the message. */
export interface LivePerson {
  id: number;
  origin: Vector;
  scale: Vector;
  /** x, y, z interleaved. */
  vertices: Uint16Array;
  /** The name of a topology that was sent before. */
  topology: string;
  /** sRGB interleaved, in place of a texture; null if the person has a texture, or the colours of the last frame. */
  colours: Uint8Array | null;
}

export interface LiveFrame {
  type: "frame";
  id: number;
  session: number;
  record: FrameRecord;
  fps: number;
  /** How long people take from where they were; 0 in an instant. */
  blend_ms: number;
  link: LinkReport;
  /** Null if the receiver does not tell. */
  traffic: Traffic | null;
  people: LivePerson[];
}

/** Where the triangles of a topology are in textures; the arrays are views of the message. */
export interface TextureCoordinates {
  type: "texture_coordinates";
  topology: string;
  /** u, v interleaved, of 65,535, v downwards: of the topology's vertices, then of copies of those on seams. */
  coordinates: Uint16Array<ArrayBuffer>;
  /** The vertex of each copy. */
  copies: Indices;
  /** Places in the topology's triangles at which a copy stands instead of the vertex, and those copies. */
  corners: Indices;
  cornerVertices: Indices;
  /** Place in the chart of faces and opacity, of 65,535, interleaved, in the order of `coordinates`. */
  face: Uint16Array<ArrayBuffer>;
}

export interface Texture {
  type: "texture";
  session: number;
  person: number;
  picture: Blob;
}

/** A live picture of a person's face, in its chart. */
export interface FacePicture {
  type: "face";
  session: number;
  person: number;
  picture: Blob;
}

export interface Preview {
  type: "preview";
  session: number;
  picture: Blob;
}

export type BinaryMessage = Topology | TextureCoordinates | LiveFrame | Texture | FacePicture | Preview;

export type TextMessage = { type: "hello"; version: string } | { type: "sessions"; sessions: SessionInfo[] };

/** GET /api/status. */
export interface Status {
  version: string;
  sign_up: boolean;
  live: boolean;
  browser_camera: boolean;
  /** Of uploads. */
  limits: { picture_bytes: number; clip_bytes: number; clip_seconds: number };
  /** How senders reach the receiver; null in a replay, and for who may not watch. */
  senders: { port: number; loopback: boolean; flags: string } | null;
  account: string | null;
  /** Whether pictures may be uploaded; without an account, only the newest is kept. */
  models: boolean;
}
