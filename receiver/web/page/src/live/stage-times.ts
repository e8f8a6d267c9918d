/** Where the time from capture to mesh goes. */

import type { FrameRecord, LinkReport } from "../protocol/messages.ts";

export interface StageTime {
  key: string;
  name: string;
  where: "sender" | "link" | "receiver";
  milliseconds: number;
}

/** Of stages that are called by other words here. */
const NAMES: Readonly<Record<string, string>> = {
  "sender.semantics": "Labels",
  "sender.codec": "Encoding",
  "receiver.codec": "Decoding",
  "receiver.queue": "Waiting",
  "receiver.decode": "Networks",
  "receiver.publish": "Files",
};

/**
 * The stages in the order of the way of a frame. What the two ends do not account for is the link: the way itself,
 * waiting at both of its ends, and the difference between this frame and the sender's mean.
 */
export function stageTimes(record: FrameRecord, link: LinkReport): StageTime[] {
  const sender = stagesOf("sender", link.sender_stages_ms ?? {});
  const receiver = stagesOf("receiver", record.stages_ms);
  const known = [...sender, ...receiver].reduce((sum, stage) => sum + stage.milliseconds, 0);
  const rest = record.age_ms === null ? 0 : record.age_ms - known;
  const name = sender.length > 0 ? "Link and waiting" : "Sender and link";
  return [
    ...sender,
    ...(rest > 0.5 ? [{ key: "link", name, where: "link" as const, milliseconds: rest }] : []),
    ...receiver,
  ];
}

function stagesOf(where: "sender" | "receiver", stages: Readonly<Record<string, number | null>>): StageTime[] {
  return Object.entries(stages).flatMap(([stage, milliseconds]) => {
    if (milliseconds === null) return [];
    const key = `${where}.${stage}`;
    return [{ key, name: NAMES[key] ?? readable(stage), where, milliseconds }];
  });
}

function readable(stage: string): string {
  const words = stage.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}
