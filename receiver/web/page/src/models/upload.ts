/** Sends a picture and follows its way. */

import type { Api } from "../shell/api.ts";
import { RequestError, sentence } from "../shell/api.ts";
import type { Model } from "./types.ts";

export type UploadEvent =
  | { event: "stage"; stage: string }
  | { event: "done"; model: Model }
  | { event: "error"; status: number; detail: string };

/** How long a picture waits where the recogniser runs already. */
const STARTS_MS = 1e3;

/**
 * Uploads a picture; a stage `queue` that lasts becomes `starting`.
 *
 * @param onStage is called with the name of each stage that begins.
 * @throws RequestError with a sentence for the user.
 */
export async function upload(api: Api, picture: Blob, name: string, onStage: (stage: string) => void): Promise<Model> {
  const body = new FormData();
  body.append("image", picture, name);
  const response = await api.request("POST", "/upload", { body, headers: { Accept: "application/x-ndjson" } });
  let starting: ReturnType<typeof setTimeout> | undefined;
  for await (const event of events(response.body!)) {
    clearTimeout(starting);
    if (event.event === "stage") onStage(event.stage);
    if (event.event === "stage" && event.stage === "queue") starting = setTimeout(onStage, STARTS_MS, "starting");
    if (event.event === "stage") continue;
    if (event.event === "done") return event.model;
    throw new RequestError(event.status, sentence(event.detail));
  }
  throw new RequestError(0, "The receiver stopped before the model was ready. Upload the picture again.");
}

/** The objects of a stream of JSON lines. */
export async function* events(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<UploadEvent> {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    text += value ?? (done ? "\n" : "");
    const lines = text.split("\n");
    text = lines.pop()!;
    for (const line of lines) if (line.trim()) yield JSON.parse(line) as UploadEvent;
    if (done) return;
  }
}
