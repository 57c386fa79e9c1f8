// Small drawings: marks of verdicts, sparklines, meters, charts over time.

import { draw, make, say, set } from "./dom.js";

/** @typedef {import("./words.js").Grade} Grade */

/** @type {Record<Grade, string>} shapes that differ without their colours */
const SHAPES = {
  good: "M3.5 8.5l3 3 6-7",
  wait: "M5.5 4v8M10.5 4v8",
  warn: "M8 2.5l6 11H2zM8 6.5v3M8 11.5v.2",
  bad: "M5.3 2h5.4L14 5.3v5.4L10.7 14H5.3L2 10.7V5.3zM5.7 5.7l4.6 4.6M10.3 5.7l-4.6 4.6",
};

/** A mark whose grade can change. */
export class Mark {
  constructor() {
    this.path = draw("path");
    this.root = draw("svg", { viewBox: "0 0 16 16", class: "mark", "aria-hidden": "true" }, this.path);
  }

  /** @param {Grade} grade */
  show(grade) {
    set(this.path, { d: SHAPES[grade] });
    set(this.root, { class: `mark ${grade}` });
  }
}

/** The mark of that grade. @param {Grade} grade */
export function mark(grade) {
  const made = new Mark();
  made.show(grade);
  return made.root;
}

/**
 * A polyline's points; gaps are bridged, as a spark is no chart.
 * @param {number[]} values @param {number} low @param {number} high
 * @param {number} width @param {number} height
 */
export function points(values, low, high, width, height) {
  const step = width / Math.max(1, values.length - 1);
  const span = high - low || 1;
  const made = [];
  for (const [i, value] of values.entries()) {
    if (Number.isNaN(value)) continue;
    const share = Math.min(1, Math.max(0, (value - low) / span));
    made.push(`${(i * step).toFixed(1)},${(height - share * height).toFixed(1)}`);
  }
  return made.join(" ");
}

/** A line without axes beside the figure it belongs to, which says all that a reader needs. */
export class Spark {
  /** @param {number} [width] @param {number} [height] */
  constructor(width = 56, height = 16) {
    this.width = width;
    this.height = height;
    this.line = draw("polyline");
    const box = `0 -1 ${width} ${height + 2}`;
    this.root = draw(
      "svg",
      { viewBox: box, class: "spark", "aria-hidden": "true", preserveAspectRatio: "none" },
      this.line,
    );
  }

  /** @param {number[]} values @param {number} low @param {number} high at least that */
  show(values, low, high) {
    const top = values.reduce((most, each) => (each > most ? each : most), high);
    set(this.line, { points: points(values, low, top, this.width, this.height) });
  }
}

/** A share of something, with its words. */
export class Meter {
  /** @param {string} name */
  constructor(name) {
    this.fill = make("span", { class: "fill" });
    this.bar = make("div", { class: "meter", role: "meter", "aria-label": name, "aria-valuemin": 0 }, this.fill);
    this.root = this.bar;
  }

  /** @param {number} value @param {number} most @param {string} words */
  show(value, most, words) {
    const share = most > 0 ? Math.min(1, value / most) : 0;
    set(this.bar, {
      "aria-valuenow": Math.min(value, most),
      "aria-valuemax": Math.max(1, most),
      "aria-valuetext": words,
      class: share >= 0.95 ? "meter full" : share >= 0.8 ? "meter high" : "meter",
    });
    this.fill.style.setProperty("--share", share.toFixed(4));
  }
}

/**
 * @typedef {object} Line
 * @property {string} name @property {string} kind a class: caller or callee
 * @property {number[]} times @property {number[]} values
 */

const [WIDE, HIGH, LEFT, BELOW] = [560, 130, 40, 18];

/** Figures of both legs over time. */
export class Chart {
  /** @param {string} title @param {number} low @param {number} high @param {number} digits */
  constructor(title, low, high, digits) {
    this.low = low;
    this.high = high;
    this.digits = digits;
    this.body = draw("g");
    this.drawing = draw("svg", {
      viewBox: `0 0 ${WIDE} ${HIGH}`, class: "chart", role: "img", "aria-label": title,
    }, this.body);
    this.last = make("p", { class: "last" });
    this.title = title;
    this.root = make("figure", {}, make("figcaption", {}, make("h3", {}, title), this.last), this.drawing);
  }

  /** @param {Line[]} lines @param {number} first @param {number} end seconds @param {number} origin */
  show(lines, first, end, origin) {
    const all = lines.flatMap((line) => line.values.filter((value) => !Number.isNaN(value)));
    const top = Math.max(this.high, ...all);
    const [width, height] = [WIDE - LEFT - 6, HIGH - BELOW - 8];
    const x = (/** @type {number} */ at) => LEFT + (width * (at - first)) / Math.max(1, end - first);
    const y = (/** @type {number} */ value) => 8 + height * (1 - (value - this.low) / (top - this.low));
    const parts = [];
    for (const value of [this.low, (this.low + top) / 2, top]) {
      parts.push(draw("line", { class: "grid", x1: LEFT, x2: WIDE - 6, y1: y(value), y2: y(value) }));
      parts.push(text(LEFT - 6, y(value) + 3.5, value.toFixed(top < 10 ? this.digits : 0), "end"));
    }
    for (const [at, anchor] of /** @type {[number, string][]} */ ([[first, "start"], [end, "end"]])) {
      parts.push(text(x(at), HIGH - 3, minutes(at - origin), anchor));
    }
    for (const line of lines) parts.push(...this.trace(line, x, y));
    this.body.replaceChildren(...parts);
    const said = lines.map((line) => {
      const known = line.values.filter((value) => !Number.isNaN(value));
      return `${line.name} ${known.length ? known[known.length - 1].toFixed(this.digits) : "–"}`;
    });
    say(this.last, said.join(" · "));
    set(this.drawing, { "aria-label": `${this.title} over time; now: ${said.join(", ")}` });
  }

  /**
   * Pieces between gaps; what stands alone is a dot.
   * @param {Line} line @param {(at: number) => number} x @param {(value: number) => number} y
   */
  trace(line, x, y) {
    /** @type {string[][]} */
    const pieces = [[]];
    line.times.forEach((at, i) => {
      const value = line.values[i];
      if (Number.isNaN(value)) pieces.push([]);
      else pieces[pieces.length - 1].push(`${x(at).toFixed(1)},${y(value).toFixed(1)}`);
    });
    return pieces.filter((piece) => piece.length).map((piece) => {
      const single = piece.length === 1 ? [piece[0], piece[0]] : piece;
      return draw("polyline", { class: `line ${line.kind}`, points: single.join(" ") });
    });
  }
}

/** @param {number} x @param {number} y @param {string} said @param {string} anchor */
function text(x, y, said, anchor) {
  const made = draw("text", { x, y, "text-anchor": anchor });
  made.textContent = said;
  return made;
}

/** @param {number} seconds */
function minutes(seconds) {
  const all = Math.max(0, Math.round(seconds));
  return `${Math.floor(all / 60)}:${String(all % 60).padStart(2, "0")}`;
}
