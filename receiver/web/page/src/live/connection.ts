/** The live stream: connects, reconnects, and acknowledges what was shown. */

import { decodeMessage, ProtocolError } from "../protocol/decode.ts";
import type { BinaryMessage, MeshKind, TextMessage } from "../protocol/messages.ts";
import { socketAddress } from "../shell/api.ts";
import { Backoff } from "./backoff.ts";

export type ConnectionState = "connecting" | "open" | "waiting";

export interface Watch {
  session: number | null;
  mesh: MeshKind;
  preview: boolean;
  textures: boolean;
}

export interface LiveListener {
  state(state: ConnectionState): void;
  message(message: TextMessage | BinaryMessage): void;
}

export class LiveConnection {
  readonly #listener: LiveListener;
  readonly #backoff = new Backoff();
  #watch: Watch;
  #socket: WebSocket | null = null;
  /** Whether this connection knows what is watched: that is chosen when the sessions are known. */
  #chosen = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(watch: Watch, listener: LiveListener) {
    this.#watch = watch;
    this.#listener = listener;
  }

  /** Connects, at once if it waits to. */
  open(): void {
    clearTimeout(this.#timer);
    if (this.#socket) return;
    this.#listener.state("connecting");
    const socket = new WebSocket(socketAddress("/live"));
    [this.#socket, this.#chosen] = [socket, false];
    socket.binaryType = "arraybuffer";
    socket.onmessage = (event) => {
      if (socket === this.#socket) this.#receive(event.data as string | ArrayBuffer);
    };
    socket.onclose = () => this.#lost(socket);
  }

  close(): void {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    // One that is left while it connects is closed when it has connected: browsers complain of anything else.
    if (socket?.readyState === WebSocket.CONNECTING) socket.onopen = () => socket.close(1000);
    else socket?.close(1000);
  }

  watch(watch: Watch): void {
    this.#watch = watch;
    if (this.#chosen) this.#send({ type: "watch", ...watch });
  }

  /** Acknowledges a frame: the receiver sends at most two ahead of this. */
  shown(id: number): void {
    this.#send({ type: "shown", id });
  }

  #send(message: object): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #receive(data: string | ArrayBuffer): void {
    this.#backoff.reset();
    this.#listener.state("open");
    if (typeof data === "string") {
      const message = JSON.parse(data) as TextMessage;
      this.#listener.message(message);
      if (message.type === "sessions" && !this.#chosen) {
        this.#chosen = true;
        this.watch(this.#watch);
      }
      return;
    }
    try {
      this.#listener.message(decodeMessage(data));
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      // A page of another version than the receiver's: a new connection does not help, a reload may.
      console.error(`The receiver sent ${error.message}. Reload the page.`);
      this.#socket?.close(4000);
    }
  }

  #lost(socket: WebSocket): void {
    if (socket !== this.#socket) return;
    this.#socket = null;
    this.#listener.state("waiting");
    this.#timer = setTimeout(() => this.open(), 1e3 * this.#backoff.next());
  }
}
