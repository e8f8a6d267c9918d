/** Numbers as people read them. */

export function bitrate(bitsPerSecond: number): string {
  if (bitsPerSecond >= 1e6) return `${digits(bitsPerSecond / 1e6)} Mbit/s`;
  return `${digits(bitsPerSecond / 1e3)} kbit/s`;
}

export function milliseconds(value: number): string {
  return value >= 1e4 ? `${digits(value / 1e3)} s` : `${digits(value)} ms`;
}

/** "9 s", "0.9 s". */
export function duration(ms: number): string {
  return `${(ms / 1e3).toFixed(ms < 2e3 ? 1 : 0)} s`;
}

export function fileSize(bytes: number): string {
  if (bytes >= 1e9) return `${digits(bytes / 1e9)} GB`;
  if (bytes >= 1e6) return `${digits(bytes / 1e6)} MB`;
  if (bytes >= 1e3) return `${digits(bytes / 1e3)} kB`;
  return `${bytes} bytes`;
}

/** "3 min 12 s", "1 h 5 min". */
export function span(seconds: number): string {
  const whole = Math.round(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min ${whole % 60} s` : `${whole} s`;
}

export function clockTime(secondsSinceEpoch: number): string {
  return new Date(1e3 * secondsSinceEpoch).toLocaleTimeString();
}

/** "14:02". */
export function clockMinutes(time: string): string {
  return new Date(time).toLocaleTimeString(undefined, { timeStyle: "short" });
}

export function day(time: string | number): string {
  const date = new Date(typeof time === "number" ? 1e3 * time : time);
  return Number.isNaN(date.valueOf())
    ? ""
    : date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

/** "1 person", "2 people". */
export function people(count: number): string {
  return count === 1 ? "1 person" : `${count} people`;
}

/** Three significant digits, but no fraction above 100. */
export function digits(value: number): string {
  if (value >= 99.95) return Math.round(value).toLocaleString("en").replaceAll(",", " ");
  if (value >= 9.995) return value.toFixed(1);
  return value.toFixed(value === 0 ? 0 : 2);
}

/** A name in quotation marks, whose direction of writing does not reach what is around it. */
export function quoted(name: string): string {
  return `“\u2068${name}\u2069”`;
}

/** "2 people · 1.2 GB": what is not empty, each on one line. */
export function facts(...texts: readonly string[]): string {
  return texts
    .filter(Boolean)
    .map((text) => text.replaceAll(" ", "\u00a0"))
    .join(" · ");
}
