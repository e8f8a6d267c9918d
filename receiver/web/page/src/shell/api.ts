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

const UNREACHABLE = "The receiver does not answer. Check that it is running and that this device is on its network.";

export class Api {
  #csrf: string | null = null;

  async status(): Promise<Status> {
    const status = await this.get<Status>("/api/status");
    this.#csrf = status.csrf;
    return status;
  }

  async get<T>(path: string, signal?: AbortSignal): Promise<T> {
    return (await (await this.request("GET", path, signal ? { signal } : {})).json()) as T;
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
    return (await this.request("GET", path, signal ? { signal } : {})).arrayBuffer();
  }

  /** @throws RequestError with a sentence for the user; a request that was aborted throws the signal's reason. */
  async request(method: string, path: string, init: RequestInit = {}): Promise<Response> {
    const headers = new Headers(init.headers);
    if (method !== "GET" && this.#csrf) headers.set("X-CSRF-Token", this.#csrf);
    const ask = () => fetch(path, { ...init, method, headers, credentials: "same-origin" });
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

/** The receiver's own words, or ours where a proxy answered in its place. */
async function refusal(response: Response): Promise<string> {
  try {
    const { detail } = (await response.json()) as { detail?: unknown };
    if (typeof detail === "string" && detail) return withWait(sentence(detail), response);
  } catch {
    // Not JSON: a proxy's page.
  }
  return withWait(byStatus(response.status), response);
}

function byStatus(status: number): string {
  switch (status) {
    case 401:
      return "Sign in first.";
    case 403:
      return "This is not allowed for your account. Reload the page and sign in again.";
    case 404:
      return "This no longer exists. Reload the page.";
    case 413:
      return "The picture is too large. Choose a smaller one.";
    case 415:
      return "This is not a picture. Choose a JPEG, PNG, WebP, HEIC, AVIF or GIF file.";
    case 429:
      return "Too many requests. Wait a moment, then try again.";
    case 503:
      return "The receiver is busy. Try again in a minute.";
    default:
      return `The receiver could not do this (error ${status}). Try again; its log says why.`;
  }
}

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
