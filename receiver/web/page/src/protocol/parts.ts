/** Puts messages together that arrive in parts. */

import { ProtocolError } from "./decode.ts";
import type { Part } from "./messages.ts";

export class PartAssembly {
  #content = new Uint8Array(0);
  #filled = 0;

  /**
   * Takes the next part; the first one of a message ends what was not complete. Returns the message with its last part.
   *
   * @throws ProtocolError if the part does not continue the message.
   */
  add({ offset, size, content }: Part): ArrayBuffer | null {
    if (offset === 0) [this.#content, this.#filled] = [new Uint8Array(size), 0];
    const end = offset + content.length;
    if (offset !== this.#filled || size !== this.#content.length || end > size) {
      throw new ProtocolError("parts that do not fit together");
    }
    this.#content.set(content, offset);
    this.#filled = end;
    if (end < size) return null;
    const message = this.#content.buffer;
    [this.#content, this.#filled] = [new Uint8Array(0), 0];
    return message;
  }
}
