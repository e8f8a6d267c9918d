/** The dialog with the links of a session. */

import type { App } from "../shell/app.ts";
import { explain } from "../shell/api.ts";
import { fill, h } from "../shell/dom.ts";
import { openDialog } from "../shell/shortcuts.ts";
import { day } from "../live/units.ts";
import { sessionName, sessionPath, type Session, type Share } from "./types.ts";

const DAYS: readonly [days: number, name: string][] = [
  [1 / 24, "an hour"],
  [1, "a day"],
  [7, "a week"],
  [30, "30 days"],
];

export async function showSharing(app: App, session: Session): Promise<void> {
  const path = `${sessionPath(session.number)}/shares`;
  const lasts = h("select", { class: "picker", id: "share-days" });
  for (const [days, name] of DAYS) lasts.append(h("option", { value: days, selected: days === 7 }, name));
  const made = h("div", { class: "fresh", "aria-live": "polite" });
  const list = h("ul", { class: "tokens" });
  const message = h("p", { class: "notice bad", role: "alert" });

  const attempt = async (action: () => Promise<void>) => {
    try {
      message.textContent = "";
      await action();
    } catch (error) {
      message.textContent = explain(error);
    }
  };
  const reload = async () => {
    const { shares } = await app.api.get<{ shares: Share[] }>(path);
    fill(list, ...shares.map(row));
  };
  const row = ({ id, expires_at: expires }: Share) =>
    h(
      "li",
      {},
      h("span", {}, `Valid until ${day(expires)}`),
      h(
        "button",
        {
          type: "button",
          class: "button compact danger",
          "aria-label": `Revoke the link that is valid until ${day(expires)}`,
          onclick: () =>
            void attempt(async () => {
              await app.api.delete(`${path}/${id}`);
              made.replaceChildren();
              await reload();
            }),
        },
        "Revoke",
      ),
    );
  const make = async () => {
    const { secret } = await app.api.post<Share & { secret: string }>(path, { days: Number(lasts.value) });
    const link = `${location.origin}/#shared/${secret}`;
    const copy = h(
      "button",
      { type: "button", class: "button compact", onclick: () => void app.copy(link, copy) },
      "Copy",
    );
    fill(
      made,
      h("p", {}, "Copy the link now: it is not shown again."),
      h("div", { class: "token-row" }, h("code", { class: "token", tabindex: 0 }, link), copy),
    );
    await reload();
  };
  const dialog = openDialog(
    `Share “${sessionName(session)}”`,
    h("p", { class: "soft" }, "Whoever has the link sees and downloads this session, without an account."),
    h(
      "div",
      { class: "share-make" },
      h("label", { for: "share-days" }, "Valid for"),
      lasts,
      h("button", { type: "button", class: "button primary", onclick: () => void attempt(make) }, "Make a link"),
    ),
    made,
    list,
    message,
    h(
      "div",
      { class: "actions" },
      h("button", { type: "button", class: "button", onclick: () => dialog.close() }, "Close"),
    ),
  );
  await attempt(reload);
}
