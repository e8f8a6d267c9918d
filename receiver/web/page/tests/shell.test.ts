import assert from "node:assert/strict";
import { test } from "node:test";
import { Backoff } from "../src/live/backoff.ts";
import { stageTimes } from "../src/live/stage-times.ts";
import { bitrate, digits, fileSize, milliseconds } from "../src/live/units.ts";
import { JsonLines } from "../src/uploads/upload.ts";
import type { FrameRecord } from "../src/protocol/messages.ts";
import { Api, RequestError, sentence } from "../src/shell/api.ts";

test("delays double up to a limit and start again after success", () => {
  const backoff = new Backoff(() => 1);
  assert.deepEqual(
    Array.from({ length: 7 }, () => backoff.next()),
    [0.5, 1, 2, 4, 8, 15, 15],
  );
  backoff.reset();
  assert.equal(backoff.next(), 0.5);
});

test("a delay is never shorter than three quarters", () => {
  assert.equal(new Backoff(() => 0).next(), 0.375);
});

test("numbers have three digits and a unit", () => {
  assert.deepEqual([0, 2.2345, 12.345, 999.6, 12345].map(digits), ["0", "2.23", "12.3", "1 000", "12 345"]);
  assert.equal(bitrate(8160), "8.16 kbit/s");
  assert.equal(bitrate(1.85e6), "1.85 Mbit/s");
  assert.equal(milliseconds(113.4), "113 ms");
  assert.equal(milliseconds(12_340), "12.3 s");
  assert.deepEqual([51, 1500, 2.5e6].map(fileSize), ["51 bytes", "1.50 kB", "2.50 MB"]);
});

const RECORD = { age_ms: 100, stages_ms: { decode: 20, surface: 30, publish: null } } as unknown as FrameRecord;

test("what no stage accounts for is the link", () => {
  const stages = stageTimes(RECORD, { sender_stages_ms: { perception: 40 } });
  assert.deepEqual(
    stages.map(({ key, milliseconds: time }) => [key, time]),
    [
      ["sender.perception", 40],
      ["link", 10],
      ["receiver.decode", 20],
      ["receiver.surface", 30],
    ],
  );
});

test("without an age there is no link", () => {
  assert.equal(stageTimes({ ...RECORD, age_ms: null }, {}).length, 2);
});

test("lines of an answer may be cut anywhere", () => {
  const text = '{"event":"stage","stage":"queue"}\n\n{"event":"done","model":{"id":"ä"}}\n';
  const lines = new JsonLines<unknown>();
  const read = Array.from(text, (_, end) => lines.take(text.slice(0, end + 1))).flat();
  assert.deepEqual(read, [
    { event: "stage", stage: "queue" },
    { event: "done", model: { id: "ä" } },
  ]);
  assert.deepEqual(lines.take(text), []);
});

test("refusals are sentences", () => {
  assert.equal(sentence(" name is taken"), "Name is taken.");
  assert.equal(sentence("Why?"), "Why?");
});

const refusals: [Response, string][] = [
  [
    Response.json({ detail: "the picture shows nobody; choose another one" }, { status: 422 }),
    "The picture shows nobody; choose another one.",
  ],
  [Response.json({ detail: [{ loc: ["body"] }] }, { status: 413 }), "The file is too large. Choose a smaller one."],
  [new Response("<html>", { status: 502 }), "The receiver could not do this (error 502). Try again; its log says why."],
  [
    Response.json({ detail: "Too many attempts." }, { status: 429, headers: { "Retry-After": "300" } }),
    "Too many attempts. Try again in 5 minutes.",
  ],
];
for (const [response, text] of refusals) {
  test(`an answer ${response.status} says: ${text}`, async (context) => {
    context.mock.method(globalThis, "fetch", async () => response);
    await assert.rejects(new Api().get("/api/models"), new RequestError(response.status, text));
  });
}

test("what a changed network has broken is read again, but not sent again", async (context) => {
  const broken = () => Promise.reject(new TypeError("fetch failed"));
  const fetch = context.mock.method(globalThis, "fetch", async () => new Response('{"sessions": []}'));
  fetch.mock.mockImplementationOnce(broken, 0);
  assert.deepEqual(await new Api().get("/api/sessions"), { sessions: [] });
  fetch.mock.mockImplementationOnce(broken, 2);
  await assert.rejects(new Api().delete("/api/models/1"), RequestError);
  assert.equal(fetch.mock.callCount(), 3);
});

test("a receiver that does not answer is reported", async (context) => {
  context.mock.method(globalThis, "fetch", () => Promise.reject(new TypeError("fetch failed")));
  await assert.rejects(new Api().status(), /The receiver does not answer\. Check/);
});
