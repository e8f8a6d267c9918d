/** Sends a picture or a clip and follows its way. */

import type { Api } from "../shell/api.ts";
import { RequestError, sentence } from "../shell/api.ts";
import type { Kind } from "./files.ts";

/** A picture becomes a model, a clip a session. */
interface Done {
  event: "done";
  model?: { id: string; warnings: string[] };
  /** `warnings`: what of the clip is damaged or missing, or of the picture's file was left out. */
  session?: { number: number; warnings: string[] };
}

type UploadEvent =
  { event: "stage"; stage: string; done?: number } | Done | { event: "error"; status: number; detail: string };

/** Is called when a stage begins, and where that is known with how much of it is done, 0 to 1. */
export type OnStage = (stage: string, done?: number) => void;

/** How long a file waits where the recogniser runs already. */
const STARTS_MS = 1e3;

/** The stage in which the recogniser starts: if it lasts, it becomes `starting`. */
const WAYS: Readonly<Record<Kind, { path: string; field: string; starts: string }>> = {
  picture: { path: "/upload", field: "image", starts: "queue" },
  clip: { path: "/api/sessions", field: "clip", starts: "clip" },
};

/** Ends when something has come of the file; aborting cancels it. @throws RequestError with a sentence for the user. */
export async function upload(api: Api, file: File, kind: Kind, onStage: OnStage, signal: AbortSignal): Promise<Done> {
  const { path, field, starts } = WAYS[kind];
  const form = new FormData();
  form.append(field, file, file.name || kind);
  const lines = new JsonLines<UploadEvent>();
  let starting: ReturnType<typeof setTimeout> | undefined;
  let result: Done | undefined;
  let failure: RequestError | undefined;
  const take = (text: string) => {
    for (const event of lines.take(text)) {
      clearTimeout(starting);
      if (event.event === "done") result = event;
      else if (event.event === "error") failure = new RequestError(event.status, sentence(event.detail));
      else {
        onStage(event.stage, event.done);
        const begins = event.stage === starts && event.done === undefined;
        if (begins) starting = setTimeout(onStage, STARTS_MS, "starting");
      }
    }
  };
  try {
    await api.send(path, form, (share) => onStage("upload", share), take, signal);
  } finally {
    clearTimeout(starting);
  }
  if (failure) throw failure;
  if (!result) throw new RequestError(0, "The receiver stopped before it had finished. Upload the file again.");
  return result;
}

/** The objects of JSON lines that come in pieces. */
export class JsonLines<T> {
  #taken = 0;

  /** @param text all that has come; its last line counts when it has ended. */
  take(text: string): T[] {
    const end = text.lastIndexOf("\n") + 1;
    const fresh = text.slice(this.#taken, Math.max(end, this.#taken));
    this.#taken = Math.max(end, this.#taken);
    return fresh
      .split("\n")
      .filter((line) => line.trim())
      .map((line) => JSON.parse(line) as T);
  }
}
