/** When the scene is drawn: with the next frame of the display, or later where the processor draws; and how finely. */

/** A processor that draws may have to run the daemons, too: pictures of people who move take this share of its time. */
const SOFTWARE_SHARE = 1 / 3;
/** No rest between two pictures is longer, even if they take a larger share then. */
const LONGEST_REST_MS = 200;
/** People move as long as they have moved within this time. */
const MOVING_MS = 1000;
/** Pixels that a processor draws for each pixel of the page, along a side, while something moves. */
const COARSE = 0.6;
/** Of a graphics card, where more pixels are not seen; of a processor, whose pictures of moving people have hard edges. */
const FINEST = 2;

export class DrawLoop {
  readonly #context: WebGLRenderingContext | WebGL2RenderingContext;
  readonly #software: boolean;
  readonly #draw: (seconds: number) => boolean;
  readonly #resized: () => void;
  readonly #finest: number;
  /** Whether pictures follow each other without rest, as while somebody turns the view. */
  eager = false;
  #atOnce = false;
  #requested = 0;
  #ended = false;
  #lastDraw = 0;
  #lastMove = -Infinity;
  #spentMs = 0;
  #ratio: number;
  /** The timer of a fine picture, and whether it is due. */
  #resting: ReturnType<typeof setTimeout> | undefined;
  #fineDue = false;

  /**
   * @param software whether the processor draws in the place of a graphics card.
   * @param draw draws by `picture`; it is told how long ago the last picture was, and returns whether the view glides
   *   on, so that another one is due.
   * @param resized is called before a picture when `pixelRatio` has changed.
   */
  constructor(
    context: WebGLRenderingContext | WebGL2RenderingContext,
    software: boolean,
    draw: (seconds: number) => boolean,
    resized: () => void,
  ) {
    [this.#context, this.#software, this.#draw, this.#resized] = [context, software, draw, resized];
    this.#finest = software ? FINEST : Math.min(devicePixelRatio, FINEST);
    this.#ratio = software ? COARSE : this.#finest;
  }

  /** Pixels drawn for each pixel of the page, along a side. */
  get pixelRatio(): number {
    return this.#ratio;
  }

  /** Asks for a picture; somebody who waits for it is shown it at once. */
  request(atOnce = false): void {
    this.#atOnce ||= atOnce;
    if (this.#requested === 0 && !this.#ended) this.#requested = requestAnimationFrame((time) => this.#frame(time));
  }

  /** Asks for a picture of people who have moved. */
  moved(): void {
    this.#lastMove = performance.now();
    this.request();
  }

  /** Draws nothing any more. */
  end(): void {
    cancelAnimationFrame(this.#requested);
    clearTimeout(this.#resting);
    this.#ended = true;
  }

  /** Draws a picture. */
  picture(render: () => void): void {
    // A measurement waits until the picture is complete, for which the page has to wait as well.
    if (this.#software && this.#peopleMove(performance.now())) this.#spentMs = drawTimeMs(this.#context, render);
    else render();
  }

  #frame(time: number): void {
    this.#requested = 0;
    const passedMs = time - this.#lastDraw;
    if (this.#rests(time, passedMs)) {
      this.request();
      return;
    }
    this.#atOnce = false;
    this.#lastDraw = time;
    if (this.#software) this.#fit(time);
    const glides = this.#draw(Math.min(0.1, Math.max(0, passedMs / 1e3)));
    if (glides) this.request();
    else if (this.#ratio < this.#finest) this.#resting = setTimeout(() => this.#drawFinely(), MOVING_MS);
  }

  /** What has come to rest is drawn once more, finely, however long that takes. */
  #drawFinely(): void {
    this.#fineDue = true;
    this.request(true);
  }

  #fit(now: number): void {
    clearTimeout(this.#resting);
    const fine = this.#fineDue && !this.eager && !this.#peopleMove(now);
    this.#fineDue = false;
    const ratio = fine ? this.#finest : COARSE;
    if (ratio === this.#ratio) return;
    this.#ratio = ratio;
    this.#resized();
  }

  #peopleMove(now: number): boolean {
    return now - this.#lastMove < MOVING_MS;
  }

  #rests(now: number, passedMs: number): boolean {
    if (!this.#software || this.eager || this.#atOnce || !this.#peopleMove(now)) return false;
    return passedMs < Math.min(this.#spentMs / SOFTWARE_SHARE, this.#spentMs + LONGEST_REST_MS);
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
function drawTimeMs(context: WebGLRenderingContext | WebGL2RenderingContext, draw: () => void): number {
  const pixel = new Uint8Array(4);
  const read = () => context.readPixels(0, 0, 1, 1, context.RGBA, context.UNSIGNED_BYTE, pixel);
  read();
  const start = performance.now();
  draw();
  read();
  return performance.now() - start;
}
