/** What the receiver says about recorded sessions. */

import type { Api } from "../shell/api.ts";
import { bitrate, day, digits, facts, fileSize, people, span } from "../live/units.ts";

export interface Session {
  number: number;
  name: string;
  /** Its frames are pictures of their own. */
  album: boolean;
  source: string;
  began_at: string;
  ended_at: string;
  /** In the source's own time, and in the receiver's. */
  length_s: number;
  played_s: number;
  people: number;
  /** Ids of those who were taken out. */
  hidden: readonly number[];
  frames: number;
  last_seq: number;
  bytes: number;
  connected: boolean;
  may_change: boolean;
  /** Means of the session; null where they are not known. Frames a second of `length_s`, then of `played_s`. */
  fps: number | null;
  played_fps: number | null;
  label_bytes: number;
  /** Of `played_s`; null without a link, as in a replay. */
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

/** "Nov 3, 2026, 14:02 · 3 min 12 s · 2 people · 1.2 GB"; an album has pictures in place of a length. */
export function sessionFacts({ album, frames, ...session }: Session): string {
  const { began_at: began, length_s: length, people: count, bytes: size } = session;
  return facts(day(began), album ? `${frames} pictures` : span(length), people(count), fileSize(size));
}

/** Whether a session was played in about the time that it lasts, as those of cameras are: others have no age. */
export function atOwnPace({ length_s: length, played_s: played }: Session): boolean {
  return Math.abs(played - length) <= Math.max(1, 0.1 * length);
}

/** How fast a session was played and what it cost; every figure names its clock where there are two. */
export function sessionPace(session: Session): string {
  const { fps, played_fps: playedFps, played_s: played, label_bytes: size, link_bps: link } = session;
  const labels = `${fileSize(Math.round(size))} of labels a ${session.album ? "picture" : "frame"}`;
  if (fps === null || session.album) return facts(labels);
  if (link === null || playedFps === null)
    return facts(`${digits(fps)} frames/s when it was live`, `${bitrate(8 * size * fps)} of labels`, labels);
  if (atOwnPace(session)) return facts(`${digits(playedFps)} frames/s`, `${bitrate(link)} on the link`, labels);
  const here = `played in ${span(played)}: ${digits(playedFps)} frames/s, ${bitrate(link)}`;
  return facts(`${digits(fps)} frames/s of video`, here, labels);
}
