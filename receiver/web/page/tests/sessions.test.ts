import assert from "node:assert/strict";
import { test } from "node:test";
import { sessionPace, type Session } from "../src/sessions/types.ts";

const session: Session = {
  number: 1,
  name: "",
  album: false,
  hidden: [],
  source: "demo.mp4",
  began_at: "2027-01-15T08:00:00Z",
  ended_at: "2027-01-15T08:03:34Z",
  length_s: 10,
  played_s: 10.4,
  people: 1,
  frames: 300,
  last_seq: 299,
  bytes: 1,
  connected: false,
  may_change: true,
  fps: 29.9,
  played_fps: 28.75,
  label_bytes: 22,
  link_bps: 15_100,
  age_ms: 90,
};
const pace = (about: Partial<Session>) => sessionPace({ ...session, ...about }).replaceAll("\u00a0", " ");

test("a session at its own pace has one clock", () => {
  assert.equal(pace({}), "28.8 frames/s · 15.1 kbit/s on the link · 22 bytes of labels a frame");
});

test("of a video that took longer than it plays both clocks are named", () => {
  const video = "29.9 frames/s of video · played in 3 min 34 s: 1.40 frames/s, 15.1 kbit/s";
  assert.equal(pace({ played_s: 214, played_fps: 1.397 }), `${video} · 22 bytes of labels a frame`);
});

test("a replay says what its labels cost when it was live, and a picture has no rate", () => {
  const live = "29.9 frames/s when it was live · 5.26 kbit/s of labels";
  assert.equal(pace({ link_bps: null }), `${live} · 22 bytes of labels a frame`);
  assert.equal(pace({ fps: null, played_fps: null, link_bps: null }), "22 bytes of labels a frame");
});
