import assert from "node:assert/strict";
import { test } from "node:test";
import { ByteHistory, HISTORY_S, SourcePace } from "../src/live/history.ts";
import { LABELS } from "../src/live/labels.ts";

test("labels have names and colours of their own", () => {
  for (const part of ["key", "name", "colour"] as const) {
    assert.equal(new Set(LABELS.map((label) => label[part])).size, LABELS.length);
  }
});

const history = () => new ByteHistory(["root", "head"]);

test("a second's mean is over its frames, also while it runs", () => {
  const bytes = history();
  bytes.add(100.1, { root: 10, head: 2, total: 12 });
  bytes.add(100.9, { root: 20, total: 20 });
  bytes.add(103, { root: 7 });
  const means = bytes.means();
  assert.equal(means.length, HISTORY_S);
  assert.deepEqual(means.slice(-4), [
    [15, 1],
    [0, 0],
    [0, 0],
    [7, 0],
  ]);
});

test("what is older than a minute is forgotten", () => {
  const bytes = history();
  bytes.add(100, { root: 10 });
  bytes.add(99 + HISTORY_S, { root: 4 });
  assert.deepEqual(bytes.means()[0], [10, 0]);
  bytes.add(100 + HISTORY_S, { root: 4 });
  assert.deepEqual(bytes.means()[0], [0, 0]);
});

test("the recent mean leaves out what is long past", () => {
  const bytes = history();
  bytes.add(90, { root: 1000 });
  bytes.add(99, { root: 30, head: 10 });
  bytes.add(100, { root: 50, head: 10 });
  bytes.add(101, { root: 80, total: 7000 });
  assert.equal(bytes.recent(), 60);
  assert.equal(history().recent(), 0);
});

test("the pace of a source is that of its own times, however few of its frames arrive", () => {
  const pace = new SourcePace();
  assert.equal(pace.framesASecond, null);
  for (const seq of [0, 7, 30, 33]) pace.add({ seq, captured_at: 5000 + seq / 30 });
  assert.ok(Math.abs(pace.framesASecond! - 30) < 0.01);
  pace.add({ seq: 34, captured_at: 9000 });
  assert.equal(pace.framesASecond, null, "its clock was set");
});
