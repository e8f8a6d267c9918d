import assert from "node:assert/strict";
import { test } from "node:test";
import { DrawLoop } from "../src/scene/draw-loop.ts";

const FRAME_MS = 10;

/** A display that shows a picture every ten milliseconds, and pictures that take `DRAWN_MS` each. */
class Display {
  clock = 1000;
  #waiting: FrameRequestCallback[] = [];

  constructor() {
    const display = this;
    Object.assign(globalThis, {
      devicePixelRatio: 1,
      requestAnimationFrame: (callback: FrameRequestCallback) => display.#waiting.push(callback),
      cancelAnimationFrame: (number: number) => (display.#waiting[number - 1] = () => undefined),
    });
    performance.now = () => display.clock;
  }

  run(milliseconds: number): void {
    for (const end = this.clock + milliseconds; this.clock < end; this.clock += FRAME_MS) {
      const callbacks = this.#waiting;
      this.#waiting = [];
      for (const callback of callbacks) callback(this.clock);
    }
  }
}

/** When pictures are drawn while something always moves. */
function pictures(software: boolean, milliseconds: number, change: (loop: DrawLoop) => void = () => undefined): number {
  const display = new Display();
  const context = { readPixels: () => undefined } as unknown as WebGLRenderingContext;
  let drawn = 0;
  const loop = new DrawLoop(context, software, () => {
    loop.picture(() => {
      drawn += 1;
      display.clock += 20;
    });
    loop.moved();
    return false;
  });
  change(loop);
  loop.request();
  display.run(milliseconds);
  return drawn;
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
  const display = new Display();
  let drawn = 0;
  const loop = new DrawLoop({ readPixels: () => undefined } as unknown as WebGLRenderingContext, true, () => {
    loop.picture(() => (display.clock += 20));
    drawn += 1;
    return true;
  });
  loop.moved();
  display.run(1000);
  const before = drawn;
  assert.ok(before <= 18, String(before));
  display.run(1000);
  assert.ok(drawn - before >= 30, String(drawn - before));
});

test("a picture that is asked for at once is drawn with the next frame", () => {
  const display = new Display();
  let drawn = 0;
  const loop = new DrawLoop({ readPixels: () => undefined } as unknown as WebGLRenderingContext, true, () => {
    loop.picture(() => (display.clock += 100));
    drawn += 1;
    return false;
  });
  loop.moved();
  display.run(FRAME_MS);
  loop.moved();
  display.run(5 * FRAME_MS);
  assert.equal(drawn, 1);
  loop.request(true);
  display.run(FRAME_MS);
  assert.equal(drawn, 2);
});

test("nothing is drawn while it is held", () => {
  assert.equal(
    pictures(false, 100, (loop) => {
      loop.request();
      loop.hold();
    }),
    0,
  );
});
