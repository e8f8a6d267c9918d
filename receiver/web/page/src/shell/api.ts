/** Requests to the receiver. */

import type { Status } from "../protocol/messages.ts";

/** A request was refused; the text says what to do. */
export class RequestError extends Error {
  readonly status: number;

  constructor(status: number, detail: string) {
    super(detail);
    this.status = status;
  }
}

/** The address of a path of the receiver, relative to the page: a proxy may have put both into a folder. */
export function address(path: string): string {
  return `.${path}`;
}

/** The address of a WebSocket of the receiver. */
export function socketAddress(path: string): URL {
  return new URL(address(path), location.href.replace(/^http/, "ws"));
}

const UNREACHABLE = "The receiver does not answer. Check that it is running and that this device is on its network.";

export class Api {
  status(): Promise<Status> {
    return this.get<Status>("/api/status");
  }

  async get<T>(path: string, signal?: AbortSignal): Promise<T> {
    return (await (await this.request("GET", path, { signal: signal ?? null })).json()) as T;
  }

  async post<T>(path: string, body: unknown, method = "POST"): Promise<T> {
    const headers = { "Content-Type": "application/json" };
    const response = await this.request(method, path, { headers, body: JSON.stringify(body) });
    return (response.status === 204 ? null : await response.json()) as T;
  }

  async delete(path: string): Promise<void> {
    await this.request("DELETE", path);
  }

  async bytes(path: string, signal?: AbortSignal): Promise<ArrayBuffer> {
    return (await this.request("GET", path, { signal: signal ?? null })).arrayBuffer();
  }

  /**
   * Posts a form whose answer comes in lines.
   *
   * @param onSent is called with the share of the form that has left.
   * @param onText is called with all that has come of the answer.
   * @throws RequestError with a sentence for the user; a request that was aborted throws the signal's reason.
   */
  send(
    path: string,
    form: FormData,
    onSent: (share: number) => void,
    onText: (text: string) => void,
    signal?: AbortSignal,
  ): Promise<void> {
    // `fetch` does not tell how much has left.
    const request = new XMLHttpRequest();
    request.open("POST", address(path));
    request.setRequestHeader("Accept", "application/x-ndjson");
    request.upload.onprogress = ({ loaded, total }) => onSent(loaded / Math.max(total, 1));
    request.onprogress = () => request.status === 200 && onText(request.responseText);
    signal?.addEventListener("abort", () => request.abort());
    return new Promise((resolve, reject) => {
      request.onload = () => {
        if (request.status === 200) resolve(onText(request.responseText));
        else void refusal(answerOf(request)).then((text) => reject(new RequestError(request.status, text)));
      };
      request.onerror = () => reject(new RequestError(0, UNREACHABLE));
      request.onabort = () => reject(signal?.reason);
      request.send(form);
    });
  }

  /** @throws RequestError with a sentence for the user; a request that was aborted throws the signal's reason. */
  async request(method: string, path: string, init: RequestInit = {}): Promise<Response> {
    const ask = () => fetch(address(path), { ...init, method, credentials: "same-origin" });
    let response: Response;
    try {
      // A device that changes its network breaks what it is loading; reading twice does no harm.
      response = await (method === "GET" ? ask().catch(ask) : ask());
    } catch (error) {
      if (init.signal?.aborted) throw error;
      throw new RequestError(0, UNREACHABLE);
    }
    if (!response.ok) throw new RequestError(response.status, await refusal(response));
    return response;
  }
}

function answerOf(request: XMLHttpRequest): Response {
  const wait = request.getResponseHeader("Retry-After");
  return new Response(request.responseText, {
    status: request.status,
    headers: wait === null ? {} : { "Retry-After": wait },
  });
}

/** The receiver's own words, or ours where a proxy answered in its place. */
async function refusal(response: Response): Promise<string> {
  try {
    const { detail } = (await response.json()) as { detail?: unknown };
    if (typeof detail === "string" && detail) return withWait(sentence(detail), response);
  } catch {
    // Not JSON: a proxy's page.
  }
  const unknown = `The receiver could not do this (error ${response.status}). Try again; its log says why.`;
  return withWait(BY_STATUS[response.status] ?? unknown, response);
}

/** What an answer without words means. */
const BY_STATUS: Readonly<Record<number, string>> = {
  401: "Sign in first.",
  403: "This is not allowed for your account. Reload the page and sign in again.",
  404: "This no longer exists. Reload the page.",
  413: "The file is too large. Choose a smaller one.",
  415: "The receiver does not know this kind of file. Choose a picture or a clip.",
  429: "Too many requests. Wait a moment, then try again.",
  503: "The receiver is busy. Try again in a minute.",
};

function withWait(text: string, response: Response): string {
  const seconds = Number(response.headers.get("Retry-After"));
  if (!(seconds > 0) || /\d/.test(text)) return text;
  return `${text} Try again in ${seconds < 90 ? `${seconds} seconds` : `${Math.ceil(seconds / 60)} minutes`}.`;
}

/** "name is taken" → "Name is taken." */
export function sentence(text: string): string {
  const trimmed = text.trim();
  return `${trimmed.charAt(0).toUpperCase()}${trimmed.slice(1)}${/[.!?]$/.test(trimmed) ? "" : "."}`;
}

/** What to tell the user about anything that was thrown. */
export function explain(error: unknown): string {
  if (error instanceof RequestError) return error.message;
  return error instanceof Error && error.message ? sentence(error.message) : "Something went wrong. Reload the page.";
}
