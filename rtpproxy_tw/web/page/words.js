// What things are called, and how figures are written.

/** @typedef {"good" | "wait" | "warn" | "bad"} Grade */

/** @type {Record<string, [string, Grade]>} */
const VERDICTS = {
  "ok": ["Heard", "good"],
  "learning": ["Learning", "wait"],
  "held": ["On hold", "wait"],
  "ssrc-changed": ["Stream replaced", "warn"],
  "silence-only": ["Silence only", "warn"],
  "source-flapping": ["Source flapping", "warn"],
  "payload-never-negotiated": ["Wrong codec", "bad"],
  "rtcp-only": ["RTCP only", "bad"],
  "crossed-ports": ["Crossed ports", "bad"],
  "wrong-source": ["Wrong source", "bad"],
  "icmp-unreachable": ["Unreachable", "bad"],
  "looped-to-us": ["Looped to us", "bad"],
  "stopped": ["Stopped", "bad"],
  "one-way": ["One-way", "bad"],
  "never-arrived": ["Never arrived", "bad"],
};

/** @type {Record<string, string>} */
export const STATES = {
  setup: "Setting up",
  both: "Both speak",
  one_way: "One speaks",
  held: "On hold",
  silent: "Nobody speaks",
};

/** @type {Record<string, string>} */
export const KINDS = {
  command: "Command", latch: "Learned", relatch: "Learned anew", hold: "Hold",
  silence: "Silence", prompt: "Prompt", recording: "Recording", path: "Path", digit: "Key",
  source: "Stream", icmp: "Network", verdict: "Verdict", end: "End", gap: "…",
};

/** @type {Grade[]} */
const ORDER = ["good", "wait", "warn", "bad"];

/** The codes of verdicts, best first. */
export const CODES = Object.keys(VERDICTS);

/** @param {string} code */
export const label = (code) => VERDICTS[code]?.[0] ?? code;

/** @param {string} code @returns {Grade} */
export const grade = (code) => VERDICTS[code]?.[1] ?? "warn";

/** How bad a verdict is: the higher, the worse. @param {string} code */
export const severity = (code) => 100 * ORDER.indexOf(grade(code)) + CODES.indexOf(code);

/** Below it a call is a nuisance (ITU-T G.107 annex B: many users dissatisfied). */
export const POOR = 3.5;

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** @param {number} value */
export const count = (value) => whole.format(value);

/** @param {number | null} value @param {number} digits */
export function figure(value, digits) {
  return value === null || Number.isNaN(value) ? "–" : value.toFixed(digits);
}

/** A share, 0 to 1, in per cent. @param {number | null} ratio */
export function percent(ratio) {
  if (ratio === null || Number.isNaN(ratio)) return "–";
  const value = 100 * ratio;
  if (value === 0) return "0";
  return value < 0.1 ? "<0.1" : value.toFixed(value < 10 ? 1 : 0);
}

/** @param {number} seconds */
export function duration(seconds) {
  const all = Math.max(0, Math.floor(seconds));
  const two = (/** @type {number} */ number) => String(number).padStart(2, "0");
  const [hours, minutes] = [Math.floor(all / 3600), Math.floor(all / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(all % 60)}` : `${minutes}:${two(all % 60)}`;
}

/** The time of day of a time since the epoch, in seconds. @param {number} at */
export const clock = (at) => new Date(1000 * at).toLocaleTimeString("en-GB");
