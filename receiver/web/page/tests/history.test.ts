import assert from "node:assert/strict";
import { test } from "node:test";
import { ByteHistory, HISTORY_S } from "../src/live/history.ts";

const history = () => new ByteHistory(["root", "head"]);

test("a second's mean is over its frames", () => {
  const bytes = history();
  bytes.add(100.1, { root: 10, head: 2, total: 12 });
  bytes.add(100.9, { root: 20, total: 20 });
  assert.equal(bytes.mean(101.5, 1, 0), 15);
  assert.equal(bytes.mean(101.5, 1, 1), 1);
  bytes.add(HISTORY_S, { root: 6 });
  assert.equal(bytes.mean(HISTORY_S + 1, 1, 0), 6); // the first bin
});

test("a second without frames has no bytes, also before the clock began", () => {
  assert.equal(history().mean(3, 30, 0), 0);
});

test("a bin is used again after a minute", () => {
  const bytes = history();
  bytes.add(100, { root: 10 });
  bytes.add(100 + HISTORY_S, { root: 4 });
  assert.equal(bytes.mean(101 + HISTORY_S, 1, 0), 4);
  assert.equal(bytes.mean(101 + HISTORY_S, 1 + HISTORY_S, 0), 0);
});

test("the recent mean leaves out the running second and what is long past", () => {
  const bytes = history();
  bytes.add(90, { root: 1000 });
  bytes.add(99, { root: 30, head: 10 });
  bytes.add(100, { root: 50, head: 10 });
  bytes.add(101, { root: 7000 });
  assert.equal(bytes.recent(101.5), 50);
  assert.equal(history().recent(101.5), 0);
});
