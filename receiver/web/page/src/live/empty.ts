/** What to do where nobody is to be seen. */

import { fill, h } from "../shell/dom.ts";
import type { Status } from "../protocol/messages.ts";

export class EmptyMessage {
  readonly element = h("div", { class: "empty", hidden: true });
  #shown = "";

  /**
   * @param alone whether there is no session at all.
   * @param nobody whether frames come in which nobody is: nobody yet, or nobody any more.
   */
  show(status: Status | null, alone: boolean, nobody: "unseen" | "left" | null = null): void {
    const start = alone ? `start-${status?.browser_camera}` : "";
    const wanted = status && !status.live ? "sign-in" : status && alone ? start : (nobody ?? "");
    if (wanted === this.#shown) return;
    this.#shown = wanted;
    this.element.hidden = wanted === "";
    this.element.classList.toggle("light", nobody !== null);
    if (wanted === "sign-in") this.#signIn();
    else if (wanted === "unseen")
      this.#nobody("Nobody seen yet", "The camera sends. Step before it, from head to feet.");
    else if (wanted === "left") this.#nobody("Nobody in the picture now", "Whoever comes back appears here.");
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

  #nobody(title: string, text: string): void {
    fill(this.element, h("h1", {}, title), h("p", { class: "soft" }, text));
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
