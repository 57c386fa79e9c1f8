// The list of calls. Only the rows in sight are in the document, however many calls there are.

import { make, part, say, set } from "./dom.js";
import { Mark, Spark } from "./marks.js";
import { present } from "./store.js";
import { POOR, STATES, count, duration, figure, grade, label, percent } from "./words.js";

/** @typedef {import("./store.js").Row} Row */
/** @typedef {import("./store.js").Leg} Leg */
/** @typedef {import("./store.js").Order} Order */

/** @type {[string, string, Order | null][]} title, class, what a click sorts by */
const COLUMNS = [
  ["Verdict", "verdict", "verdict"],
  ["Call", "call", "age"],
  ["Caller, relay, callee", "path", "rate"],
  ["Party", "party", null],
  ["MOS", "mos", "mos"],
  ["Jitter, ms", "jitter", "jitter"],
  ["Loss, %", "loss", "loss"],
];

const BEYOND = 4; // rows above and below what is in sight
const SIDES = /** @type {const} */ ([0, 1]);

/** @param {string} kind @param {...(Node | string)} children */
const cell = (kind, ...children) => make("div", { role: "cell", class: kind }, ...children);

/** What one party sends towards the relay, as a line with an arrow. */
class Flow {
  /** @param {string} side */
  constructor(side) {
    this.rate = make("span", { class: "rate" });
    this.line = make("span", { class: "line", "aria-hidden": "true" });
    this.root = make("span", { class: `flow ${side}` }, this.rate, this.line);
  }

  /** @param {Leg} leg @param {number} rate @param {boolean} known */
  show(leg, rate, known) {
    const what = grade(leg.verdict);
    const moves = rate >= 0.5;
    say(this.rate, known ? `${count(rate)}/s` : "–");
    set(this.root, { class: `flow ${leg.side} ${what} ${moves ? "moves" : "still"}` });
  }
}

/** One row, used for one call after the other. */
export class Slot {
  constructor() {
    this.mark = new Mark();
    this.label = make("span", { class: "label" });
    this.who = make("span", { class: "quiet" });
    this.link = make("a", { class: "id" });
    this.state = make("span", { class: "quiet" });
    this.flows = [new Flow("caller"), new Flow("callee")];
    this.node = make("span", { class: "node", "aria-hidden": "true" });
    this.ends = [make("span", { class: "end" }), make("span", { class: "end callee" })];
    this.how = make("span", { class: "how" });
    this.figures = ["mos", "jitter", "loss"].map((kind) => ({
      kind, both: SIDES.map(() => ({ spark: new Spark(), value: make("span", { class: "value" }) })),
    }));
    this.root = make("div", { role: "row", class: "row" }, ...this.cells());
  }

  cells() {
    const [caller, callee] = this.flows;
    return [
      cell("verdict", this.mark.root, make("span", { class: "two" }, this.label, this.who)),
      cell("call", make("span", { class: "two" }, this.link, this.state)),
      cell(
        "path", make("span", { class: "drawn" }, caller.root, this.node, callee.root),
        make("span", { class: "ends" }, this.ends[0], this.how, this.ends[1]),
      ),
      cell("party", make("span", {}, "caller"), make("span", {}, "callee")),
      ...this.figures.map(({ kind, both }) =>
        cell(kind, ...both.map(({ spark, value }) => make("span", { class: "one" }, spark.root, value)))),
    ];
  }

  /** @param {Row} row @param {number} index @param {number} now */
  show(row, index, now) {
    const { session, worst } = row;
    const [caller, callee] = session.legs;
    const what = grade(worst.verdict);
    set(this.root, { "aria-rowindex": index + 2, class: `row ${what}` });
    this.mark.show(what);
    say(this.label, label(worst.verdict));
    say(this.who, caller.verdict === callee.verdict ? "both parties" : worst.side);
    set(this.root, { title: worst.sentence || null });
    say(this.link, row.call.call_id || "(empty)");
    set(this.link, { href: `#/call/${row.call.id}`, "data-key": row.key });
    const more = row.call.sessions.length > 1 ? ` · ${medium(row)}` : "";
    const tape = session.recording ? " · ● recorded" : "";
    say(this.state, `${STATES[session.state] ?? session.state} · ${duration(now - session.created)}${more}${tape}`);
    const known = row.past.count > 0;
    for (const side of SIDES) {
      this.flows[side].show(session.legs[side], row.rates[side], known);
      say(this.ends[side], session.legs[side].remote ?? "unknown");
    }
    say(this.how, path(caller, callee));
    this.showFigures(row);
  }

  /** @param {Row} row */
  showFigures(row) {
    const [mos, jitter, loss] = this.figures;
    for (const side of SIDES) {
      const leg = row.session.legs[side];
      const score = present(leg);
      mos.both[side].spark.show(row.past.values("mos", side), 1, 4.5);
      put(mos.both[side].value, figure(score, 2), score !== null && score < POOR);
      jitter.both[side].spark.show(row.past.values("jitter", side), 0, 10);
      put(jitter.both[side].value, figure(leg.jitter_ms, 1), (leg.jitter_ms ?? 0) > 30);
      loss.both[side].spark.show(row.past.values("loss", side), 0, 0.05);
      put(loss.both[side].value, leg.received ? percent(leg.loss_ratio) : "–", leg.loss_ratio > 0.02);
    }
  }
}

/** @param {Element} element @param {string} text @param {boolean} poor said by a sign, too */
function put(element, text, poor) {
  say(element, poor ? `▾ ${text}` : text);
  set(element, { class: poor ? "value poor" : "value" });
}

/** @param {Row} row */
function medium(row) {
  const at = row.call.sessions.findIndex((each) => each.from_tag === row.session.from_tag);
  return `medium ${at + 1} of ${row.call.sessions.length}`;
}

/** @param {Leg} caller @param {Leg} callee */
export function path(caller, callee) {
  if (caller.kernel && callee.kernel) return "kernel";
  return caller.kernel || callee.kernel ? "kernel, one way" : "process";
}

/** The whole list. `onSort` is told which heading was clicked. */
export class Table {
  /** @param {(order: Order) => void} onSort */
  constructor(onSort) {
    /** @type {Row[]} */
    this.rows = [];
    this.now = 0;
    /** @type {Map<string, Slot>} */
    this.slots = new Map();
    /** @type {Slot[]} */
    this.spare = [];
    this.body = make("div", { role: "rowgroup", class: "body" });
    this.heads = COLUMNS.map(([title, kind, order]) => head(title, kind, order, onSort));
    const header = make("div", { role: "row", class: "row heads", "aria-rowindex": 1 }, ...this.heads);
    this.table = make(
      "div", { role: "table", class: "table", "aria-label": "Calls" },
      make("div", { role: "rowgroup", class: "head" }, header), this.body,
    );
    this.empty = make("p", { class: "empty" });
    this.root = make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "List of calls" }, this.table);
    part("table").append(this.root, this.empty);
    this.root.addEventListener("scroll", () => this.draw(), { passive: true });
    this.root.addEventListener("keydown", (event) => this.move(event));
    addEventListener("resize", () => this.draw());
  }

  /** @param {Row[]} rows @param {number} now @param {Order} order @param {boolean} reverse @param {string} empty */
  show(rows, now, order, reverse, empty) {
    [this.rows, this.now] = [rows, now];
    COLUMNS.forEach(([, , each], i) => {
      const way = each === order ? (reverse ? "descending" : "ascending") : null;
      set(this.heads[i], { "aria-sort": way });
    });
    set(this.table, { "aria-rowcount": rows.length + 1 });
    set(this.root, { hidden: rows.length === 0 });
    set(this.empty, { hidden: rows.length > 0 });
    say(this.empty, empty);
    this.draw();
  }

  get height() {
    return parseFloat(getComputedStyle(this.root).getPropertyValue("--row")) || 64;
  }

  draw() {
    if (this.rows.length === 0) return;
    const height = this.height;
    this.body.style.setProperty("height", `${this.rows.length * height}px`);
    const first = Math.max(0, Math.floor(this.root.scrollTop / height) - BEYOND);
    const end = Math.ceil((this.root.scrollTop + this.root.clientHeight) / height) + BEYOND;
    const wanted = new Map(this.rows.slice(first, end).map((row, i) => [row.key, first + i]));
    const focused = document.activeElement?.getAttribute("data-key");
    if (focused && !wanted.has(focused)) {
      const at = this.rows.findIndex((row) => row.key === focused);
      if (at >= 0) wanted.set(focused, at);
    }
    for (const [key, slot] of this.slots) {
      if (wanted.has(key)) continue;
      slot.root.remove();
      this.slots.delete(key);
      this.spare.push(slot);
    }
    this.fill(wanted, height);
  }

  /** @param {Map<string, number>} wanted @param {number} height */
  fill(wanted, height) {
    for (const [key, index] of wanted) {
      let slot = this.slots.get(key);
      if (slot === undefined) {
        slot = this.spare.pop() ?? new Slot();
        this.slots.set(key, slot);
      }
      slot.show(this.rows[index], index, this.now);
      slot.root.style.setProperty("transform", `translateY(${index * height}px)`);
      if (!slot.root.isConnected) this.body.append(slot.root);
    }
    this.arrange();
  }

  /** Rows come in the document in the order they are seen in, for those who do not see. */
  arrange() {
    const rows = [...this.body.children];
    const at = (/** @type {Element} */ row) => Number(row.getAttribute("aria-rowindex"));
    if (rows.every((row, i) => i === 0 || at(rows[i - 1]) < at(row))) return;
    const focused = document.activeElement;
    for (const row of rows.sort((a, b) => at(a) - at(b))) this.body.append(row);
    if (focused instanceof HTMLElement && this.body.contains(focused)) focused.focus({ preventScroll: true });
  }

  /** @param {KeyboardEvent} event */
  move(event) {
    const page = Math.max(1, Math.floor(this.root.clientHeight / this.height) - 1);
    /** @type {Record<string, number>} */
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    const step = steps[event.key];
    if (step === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    const key = document.activeElement?.getAttribute("data-key");
    const from = this.rows.findIndex((row) => row.key === key);
    const to = Math.max(0, Math.min(this.rows.length - 1, from < 0 && step === 1 ? 0 : from + step));
    event.preventDefault();
    this.focus(to);
  }

  /** @param {number} index */
  focus(index) {
    const height = this.height;
    const top = index * height;
    const head = this.heads[0].offsetHeight;
    const inside = this.root.clientHeight - head - height;
    if (top < this.root.scrollTop) this.root.scrollTop = top;
    else if (top > this.root.scrollTop + inside) this.root.scrollTop = top - inside;
    this.draw();
    this.slots.get(this.rows[index].key)?.link.focus({ preventScroll: true });
  }
}

/** @param {string} title @param {string} kind @param {Order | null} order @param {(order: Order) => void} onSort */
function head(title, kind, order, onSort) {
  if (order === null) return make("div", { role: "columnheader", class: kind }, title);
  const button = make("button", { type: "button" }, title);
  button.addEventListener("click", () => onSort(order));
  return make("div", { role: "columnheader", class: kind }, button);
}
