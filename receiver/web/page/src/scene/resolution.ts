/** As many pixels as the graphics card, or the processor in its place, draws fluently. */

const SLOW_MS = 34;
/** Time that the raised resolution may be expected to take. */
const FLUENT_MS = 22;
export const LOWEST_RATIO = 0.6;
const STEP = 0.8;

/** Lowers the resolution while pictures take long to draw, and raises it again when there is time for it. */
export class ResolutionControl {
  readonly highest: number;
  #ratio: number;

  constructor(highest: number, first = highest) {
    this.highest = highest;
    this.#ratio = first;
  }

  /** Pixels drawn for each pixel of the page, along a side. */
  get ratio(): number {
    return this.#ratio;
  }

  /** Takes the time that a picture took until it was complete; returns whether the ratio has changed. */
  measured(milliseconds: number): boolean {
    const before = this.#ratio;
    if (milliseconds > SLOW_MS) this.#ratio = Math.max(LOWEST_RATIO, before * STEP);
    if (milliseconds / STEP ** 2 < FLUENT_MS) this.#ratio = Math.min(this.highest, before / STEP);
    return this.#ratio !== before;
  }
}

/** Whether WebGL runs on the processor. */
export function isSoftwareRenderer(): boolean {
  const context = document.createElement("canvas").getContext("webgl2");
  const information = context?.getExtension("WEBGL_debug_renderer_info");
  const name = information ? String(context?.getParameter(information.UNMASKED_RENDERER_WEBGL)) : "";
  context?.getExtension("WEBGL_lose_context")?.loseContext();
  return /swiftshader|llvmpipe|software|basic render/i.test(name);
}

/** Draws and waits for the result: only a read tells how long drawing takes. */
export function drawTimeMs(context: WebGLRenderingContext | WebGL2RenderingContext, draw: () => void): number {
  const pixel = new Uint8Array(4);
  const read = () => context.readPixels(0, 0, 1, 1, context.RGBA, context.UNSIGNED_BYTE, pixel);
  read();
  const start = performance.now();
  draw();
  read();
  return performance.now() - start;
}
