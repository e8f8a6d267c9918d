/** Sends a picture or a clip and follows its way. */

import type { Api } from "../shell/api.ts";
import { RequestError, sentence } from "../shell/api.ts";
import type { Model } from "../models/types.ts";
import type { Clip } from "../sessions/types.ts";

export type UploadEvent<T> =
  | { event: "stage"; stage: string; done?: number }
  | ({ event: "done" } & T)
  | { event: "error"; status: number; detail: string };

/** Is called when a stage begins, and where that is known with how much of it is done, 0 to 1. */
export type OnStage = (stage: string, done?: number) => void;

/** How long a file waits where the recogniser runs already. */
const STARTS_MS = 1e3;

/** @throws RequestError with a sentence for the user. */
export async function uploadPicture(api: Api, file: File, onStage: OnStage, signal?: AbortSignal): Promise<Model> {
  const form = new FormData();
  form.append("image", file, file.name || "picture");
  return (await upload<{ model: Model }>(api, "/upload", form, "queue", onStage, signal)).model;
}

/** Ends when the clip has become a session; aborting cancels it. @throws RequestError with a sentence for the user. */
export async function uploadClip(api: Api, file: File, onStage: OnStage, signal?: AbortSignal): Promise<Clip> {
  const form = new FormData();
  form.append("clip", file, file.name);
  return (await upload<{ session: Clip }>(api, "/api/sessions", form, "clip", onStage, signal)).session;
}

/** @param starts the stage in which the recogniser starts: if it lasts, it becomes `starting`. */
async function upload<T>(
  api: Api,
  path: string,
  form: FormData,
  starts: string,
  onStage: OnStage,
  signal?: AbortSignal,
): Promise<T> {
  const lines = new JsonLines<UploadEvent<T>>();
  let starting: ReturnType<typeof setTimeout> | undefined;
  let result: T | undefined;
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
