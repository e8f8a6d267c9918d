/** Makes the camera of this browser the camera of a sender. */

import type { App } from "../shell/app.ts";
import { sentence, socketAddress } from "../shell/api.ts";
import { button, fill, h } from "../shell/dom.ts";
import { Backoff } from "../live/backoff.ts";

const LONGEST_SIDE = 640;
const QUALITY = 0.7;
const UNACKNOWLEDGED = 2;

export class CameraControl {
  readonly element = h("div", { class: "camera row", role: "group", "aria-label": "This camera" });
  readonly #app: App;
  readonly #changed: () => void;
  readonly #video = h("video", { muted: true, playsinline: true, "aria-hidden": "true" });
  readonly #canvas = document.createElement("canvas");
  readonly #backoff = new Backoff();
  #stream: MediaStream | null = null;
  #socket: WebSocket | null = null;
  #sent = 0;
  #acknowledged = 0;
  #encoding = false;
  /** The camera that was chosen; browsers name cameras only once one may be used. */
  #device = "";

  /** @param changed is called when it was switched on or off. */
  constructor(app: App, changed: () => void) {
    this.#app = app;
    this.#changed = changed;
    this.#video.muted = true;
    this.#showOff();
  }

  get isOn(): boolean {
    return this.#stream !== null;
  }

  async start(): Promise<void> {
    if (this.#stream) return;
    try {
      this.#stream = await navigator.mediaDevices.getUserMedia({
        audio: false,
        video: {
          width: { ideal: LONGEST_SIDE },
          height: { ideal: 480 },
          frameRate: { ideal: 30 },
          ...(this.#device ? { deviceId: { exact: this.#device } } : { facingMode: "environment" }),
        },
      });
    } catch (error) {
      this.#app.say(reason(error));
      return;
    }
    for (const track of this.#stream.getVideoTracks()) track.addEventListener("ended", () => this.stop());
    this.#changed();
    this.#video.srcObject = this.#stream;
    this.#showOn(await this.#picker());
    await this.#video.play();
    this.#connect();
    this.#nextFrame();
  }

  stop(): void {
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.#stream = null;
    this.#changed();
    this.#video.srcObject = null;
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(1000);
    this.#showOff();
  }

  #connect(): void {
    const socket = new WebSocket(socketAddress("/camera"));
    this.#socket = socket;
    this.#sent = this.#acknowledged = 0;
    socket.onmessage = (event) => {
      const message = JSON.parse(event.data as string) as { type: string; frame?: number; detail?: string };
      if (message.type === "ack") {
        this.#acknowledged += 1;
        this.#backoff.reset();
      } else if (message.type === "refused") {
        this.stop();
        this.#app.say(message.detail ? sentence(message.detail) : "The receiver does not take this camera.");
      }
    };
    socket.onclose = () => {
      if (socket !== this.#socket) return;
      this.#app.say("The receiver does not take the camera's pictures. Trying again.");
      setTimeout(() => socket === this.#socket && this.#connect(), 1e3 * this.#backoff.next());
    };
  }

  /** Sends the newest picture when the receiver has room for it: older ones are never queued. */
  #nextFrame(): void {
    if (!this.#stream) return;
    const again = () => this.#nextFrame();
    if ("requestVideoFrameCallback" in this.#video) this.#video.requestVideoFrameCallback(again);
    else requestAnimationFrame(again);
    const room = this.#socket?.readyState === WebSocket.OPEN && this.#sent - this.#acknowledged < UNACKNOWLEDGED;
    if (room && !this.#encoding && this.#video.videoWidth > 0) this.#send(this.#socket!);
  }

  #send(socket: WebSocket): void {
    const { videoWidth, videoHeight } = this.#video;
    const scale = Math.min(1, LONGEST_SIDE / Math.max(videoWidth, videoHeight));
    this.#canvas.width = Math.round(scale * videoWidth);
    this.#canvas.height = Math.round(scale * videoHeight);
    this.#canvas.getContext("2d")!.drawImage(this.#video, 0, 0, this.#canvas.width, this.#canvas.height);
    this.#encoding = true;
    const encoded = (blob: Blob | null) => {
      this.#encoding = false;
      if (!blob || socket.readyState !== WebSocket.OPEN) return;
      this.#sent += 1;
      socket.send(blob);
    };
    this.#canvas.toBlob(encoded, "image/jpeg", QUALITY);
  }

  /** What chooses another camera; null where there is only one. */
  async #picker(): Promise<HTMLElement | null> {
    const devices = await navigator.mediaDevices.enumerateDevices();
    const cameras = devices.filter(({ kind }) => kind === "videoinput");
    if (cameras.length < 2) return null;
    const used = this.#stream?.getVideoTracks()[0]?.getSettings().deviceId;
    const options = cameras.map(({ deviceId, label }, number) =>
      h("option", { value: deviceId, selected: deviceId === used }, label || `Camera ${number + 1}`),
    );
    const select = h("select", { class: "picker", "aria-label": "Camera" }, ...options);
    select.addEventListener("change", () => {
      this.#device = select.value;
      this.stop();
      void this.start();
    });
    return select;
  }

  #showOff(): void {
    this.element.classList.remove("on");
    fill(
      this.element,
      button("Use this camera", "compact", () => void this.start(), "camera"),
    );
  }

  #showOn(picker: HTMLElement | null): void {
    this.element.classList.add("on");
    fill(
      this.element,
      this.#video,
      h("span", { class: "row small", role: "status" }, h("span", { class: "dot" }), "Camera on"),
      picker,
      button("Stop", "compact", () => this.stop()),
    );
  }
}

function reason(error: unknown): string {
  const name = error instanceof DOMException ? error.name : "";
  if (!navigator.mediaDevices)
    return "Browsers share a camera only over https or on this machine. Open the page by its https address.";
  if (name === "NotAllowedError")
    return "The camera is not allowed. Allow it for this page in the browser's address bar, then try again.";
  if (name === "NotFoundError") return "No camera was found. Connect one, then try again.";
  if (name === "NotReadableError") return "Another program uses the camera. Close it, then try again.";
  return "The camera could not be opened. Try another browser or camera.";
}
