/** What the receiver says about recorded sessions. */

import type { Api } from "../shell/api.ts";
import { day, facts, fileSize, people, span } from "../live/units.ts";

export interface Session {
  number: number;
  name: string;
  source: string;
  began_at: string;
  ended_at: string;
  length_s: number;
  people: number;
  frames: number;
  last_seq: number;
  bytes: number;
  connected: boolean;
  may_change: boolean;
  /** Means of the session; null where they are not known. */
  fps: number | null;
  label_bytes: number;
  link_bps: number | null;
  age_ms: number | null;
}

export function sessionPath(number: number): string {
  return `/api/sessions/${number}`;
}

/** What is on the disk of a session; null if nothing is yet. */
export async function recordedSession(api: Api, number: number): Promise<Session | null> {
  const { sessions } = await api.get<{ sessions: Session[] }>("/api/sessions");
  return sessions.find((session) => session.number === number) ?? null;
}

export function sessionName({ name, source, number }: Session): string {
  return name || source || `Session ${number}`;
}

/** "Nov 3, 2026, 14:02 · 3 min 12 s · 2 people · 1.2 GB". */
export function sessionFacts({ began_at: began, length_s: length, people: count, bytes: size }: Session): string {
  return facts(day(began), span(length), people(count), fileSize(size));
}
