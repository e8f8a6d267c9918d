/** What to do where nobody is to be seen. */

import { fill, h } from "../shell/dom.ts";
import type { Status } from "../protocol/messages.ts";

export class EmptyMessage {
  readonly element = h("div", { class: "empty", hidden: true });
  #shown = "";

  /** @param alone whether there is no session at all. */
  show(status: Status | null, alone: boolean): void {
    const wanted = status && !status.live ? "sign-in" : status && alone ? `start-${status.browser_camera}` : "";
    if (wanted === this.#shown) return;
    this.#shown = wanted;
    this.element.hidden = wanted === "";
    if (wanted === "sign-in") this.#signIn();
    else if (wanted) this.#start(wanted.endsWith("true"));
  }

  #signIn(): void {
    const local = ["127.0.0.1", "localhost", "[::1]"].includes(location.hostname);
    const forAccounts = "From another machine the live view is for accounts of this receiver only.";
    fill(
      this.element,
      h("h1", {}, "Sign in to watch"),
      h("p", { class: "soft" }, local ? "Or open the address that the receiver has printed." : forAccounts),
      h("a", { class: "button primary", href: "#account" }, "Sign in"),
    );
  }

  #start(camera: boolean): void {
    const command = `sender --camera 0 --peer ${location.hostname}:50051`;
    fill(
      this.element,
      h("h1", {}, "Nobody is here yet"),
      h("p", { class: "soft" }, "On the machine with the camera, run"),
      h("code", { class: "command" }, command),
      h(
        "p",
        { class: "soft" },
        camera ? "or press “Use this camera” above. The person appears here." : "The person appears here.",
      ),
    );
  }
}
