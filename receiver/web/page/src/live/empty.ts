/** What to do where nobody is to be seen. */

import { fill, h } from "../shell/dom.ts";
import type { Status } from "../protocol/messages.ts";

const soft = (...content: (string | Node)[]) => h("p", { class: "soft" }, ...content);

export type Nobody = "alone" | "awaited" | "unseen" | "left";

export class EmptyMessage {
  readonly element = h("div", { class: "empty", hidden: true });
  #shown = "";

  /**
   * @param nobody why: there is no session, no frame has come yet, or there is nobody in the frames, yet or any more;
   *   null if somebody is to be seen.
   */
  show(status: Status | null, nobody: Nobody | null): void {
    const start = `start-${status?.browser_camera}-${JSON.stringify(status?.senders)}`;
    const wanted = status && !status.live ? "sign-in" : nobody === "alone" ? (status ? start : "") : (nobody ?? "");
    if (wanted === this.#shown) return;
    this.#shown = wanted;
    this.element.hidden = wanted === "";
    this.element.classList.toggle("light", nobody === "unseen" || nobody === "left");
    if (wanted === "sign-in") this.#signIn();
    else if (wanted === "awaited") this.#nobody("Waiting for the first frame", "A camera begins within some seconds.");
    else if (wanted === "unseen")
      this.#nobody("Nobody seen yet", "The camera sends. Step before it, from head to feet.");
    else if (wanted === "left") this.#nobody("Nobody in the picture now", "Whoever comes back appears here.");
    else if (wanted && status) this.#start(status);
  }

  #signIn(): void {
    const local = ["127.0.0.1", "localhost", "[::1]"].includes(location.hostname);
    const forAccounts = "From another machine the live view is for accounts of this receiver only.";
    fill(
      this.element,
      h("h1", {}, "Sign in to watch"),
      soft(local ? "Or open the address that the receiver has printed." : forAccounts),
      h("a", { class: "button primary", href: "#account" }, "Sign in"),
    );
  }

  #nobody(title: string, text: string): void {
    fill(this.element, h("h1", {}, title), soft(text));
  }

  #start({ senders, browser_camera: camera }: Status): void {
    const where = senders?.loopback ? "127.0.0.1" : location.hostname;
    const command = senders
      ? [
          soft(`On ${senders.loopback ? "this machine" : "the machine with the camera"}, run`),
          h("code", { class: "command" }, `sender --camera 0 --peer ${where}:${senders.port}${senders.flags}`),
        ]
      : [];
    const press = camera ? `${senders ? "or press" : "Press"} “Use this camera” above. ` : "";
    const appears = soft(`${press}The person appears here.`);
    const recorded = soft("What was recorded is under ", h("a", { href: "#sessions" }, "Sessions"), ".");
    fill(this.element, h("h1", {}, "Nobody is here yet"), ...command, appears, recorded);
  }
}
