import assert from "node:assert/strict";
import { test } from "node:test";
import { DrawLoop } from "../src/scene/draw-loop.ts";

const FRAME_MS = 10;

/** A display that shows a picture every ten milliseconds; its clock is the page's, also for timers. */
class Display {
  clock = 1000;
  #waiting: FrameRequestCallback[] = [];
  #timers: { due: number; ring: () => void }[] = [];

  constructor() {
    const display = this;
    Object.assign(globalThis, {
      devicePixelRatio: 1,
      requestAnimationFrame: (callback: FrameRequestCallback) => display.#waiting.push(callback),
      cancelAnimationFrame: (number: number) => (display.#waiting[number - 1] = () => undefined),
      setTimeout: (ring: () => void, ms: number) => display.#timers.push({ due: display.clock + ms, ring }),
      clearTimeout: (number?: number) => number && (display.#timers[number - 1]!.ring = () => undefined),
    });
    performance.now = () => display.clock;
  }

  run(milliseconds: number): void {
    for (const end = this.clock + milliseconds; this.clock < end; this.clock += FRAME_MS) {
      const callbacks = this.#waiting;
      this.#waiting = [];
      for (const callback of callbacks) callback(this.clock);
      for (const timer of this.#timers) {
        if (timer.due > this.clock) continue;
        timer.due = Infinity;
        timer.ring();
      }
    }
  }
}

/** A loop on a display of its own, which counts its pictures; each takes a time, and then something may happen. */
class Counted {
  drawn = 0;
  resized = 0;
  readonly display = new Display();
  readonly loop: DrawLoop;

  constructor(software: boolean, drawnMs: number, then: (loop: DrawLoop) => boolean) {
    const context = { readPixels: () => undefined } as unknown as WebGLRenderingContext;
    this.loop = new DrawLoop(
      context,
      software,
      () => {
        this.loop.picture(() => (this.display.clock += drawnMs));
        this.drawn += 1;
        return then(this.loop);
      },
      () => (this.resized += 1),
    );
  }
}

/** How many pictures are drawn while people always move. */
function pictures(software: boolean, milliseconds: number, change: (loop: DrawLoop) => void = () => undefined): number {
  const counted = new Counted(software, 20, (loop) => {
    loop.moved();
    return false;
  });
  change(counted.loop);
  counted.loop.request();
  counted.display.run(milliseconds);
  return counted.drawn;
}

test("a processor that draws rests twice as long, a graphics card does not", () => {
  assert.ok(pictures(false, 3000) >= 95);
  const drawn = pictures(true, 3000);
  assert.ok(drawn >= 40 && drawn <= 52, String(drawn));
});

test("there is no rest for who turns the view", () => {
  assert.ok(pictures(true, 3000, (loop) => (loop.eager = true)) >= 95);
});

test("there is no rest when nobody has moved for a second", () => {
  const gliding = new Counted(true, 20, () => true);
  gliding.loop.moved();
  gliding.display.run(1000);
  const before = gliding.drawn;
  assert.ok(before <= 18, String(before));
  gliding.display.run(1000);
  assert.ok(gliding.drawn - before >= 30, String(gliding.drawn - before));
});

test("a picture that is asked for at once is drawn with the next frame", () => {
  const still = new Counted(true, 100, () => false);
  still.loop.moved();
  still.display.run(FRAME_MS);
  still.loop.moved();
  still.display.run(5 * FRAME_MS);
  assert.equal(still.drawn, 1);
  still.loop.request(true);
  still.display.run(FRAME_MS);
  assert.equal(still.drawn, 2);
});

test("nothing is drawn after the end", () => {
  assert.equal(
    pictures(false, 100, (loop) => {
      loop.request();
      loop.end();
    }),
    0,
  );
});

test("what moves is drawn coarsely by a processor, and finely once it rests", () => {
  let moves = true;
  const slow = new Counted(true, 100, () => moves);
  slow.loop.request();
  slow.display.run(3000);
  assert.equal(slow.loop.pixelRatio, 0.6);
  moves = false;
  slow.display.run(200);
  const before = slow.drawn;
  slow.display.run(2000);
  assert.deepEqual([slow.loop.pixelRatio, slow.drawn - before, slow.resized], [2, 1, 1]);
  // Coarsely again as soon as something moves.
  slow.loop.moved();
  slow.display.run(200);
  assert.deepEqual([slow.loop.pixelRatio, slow.resized], [0.6, 2]);
});

test("a graphics card draws finely, and nothing again when it rests", () => {
  const fast = new Counted(false, 2, () => false);
  fast.loop.request();
  fast.display.run(3000);
  assert.deepEqual([fast.loop.pixelRatio, fast.drawn, fast.resized], [1, 1, 0]);
});
