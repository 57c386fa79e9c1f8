// One call: what is to be said of it, both legs through the relay, quality over time, its timeline.

import { Refused, ask, confirm, saveTrace } from "./actions.js";
import { make, part, say, set } from "./dom.js";
import { Chart, mark } from "./marks.js";
import { path } from "./table.js";
import { KINDS, POOR, STATES, clock, count, duration, figure, grade, label, percent, severity } from "./words.js";

/** @typedef {import("./store.js").Row} Row */

const EVERY = 2000; // milliseconds between two looks

/** @type {[string, string, (leg: any) => string, ((leg: any) => boolean)?][]} */
const FIGURES = [
  ["MOS now", "of the last 10 s", (leg) => figure(leg.quality.mos_last, 2), (leg) => low(leg.quality.mos_last)],
  ["MOS of the call", "estimate", (leg) => figure(leg.quality.mos, 2), (leg) => low(leg.quality.mos)],
  ["Worst 10 s", "", worst, (leg) => low(leg.quality.mos_min)],
  ["Packets", "", (leg) => count(leg.rtp.accepted)],
  ["Relayed", "to the other party", (leg) => count(leg.rtp.relayed)],
  ["Lost before us", "", (leg) => `${count(leg.quality.lost)} (${percent(leg.quality.loss_ratio)} %)`],
  ["Lost after us", "by RTCP", (leg) => after(leg.quality.loss_after_us)],
  ["Jitter", "now / most", (leg) => `${figure(leg.quality.jitter_ms, 1)} / ${figure(leg.quality.jitter_max_ms, 1)} ms`],
  ["Round trip", "by RTCP", (leg) => (leg.quality.rtt_ms === null ? "–" : `${figure(leg.quality.rtt_ms, 0)} ms`)],
  ["Codec", "last heard", (leg) => leg.quality.codec ?? "–"],
  ["Longest gap", "", (leg) => `${figure(leg.quality.longest_gap, 2)} s`],
  ["RTCP", "packets", (leg) => count(leg.rtcp.accepted)],
];

/** @param {number | null} score */
const low = (score) => score !== null && score < POOR;

/** @param {any} leg */
function worst({ quality }) {
  if (quality.mos_min === null) return "–";
  return `${figure(quality.mos_min, 2)} at ${duration(quality.mos_min_at)}`;
}

/** @param {number | null} ratio */
const after = (ratio) => (ratio === null ? "–" : `${percent(ratio)} %`);

/** The page of one call. `rows` gives what the list knows of it. */
export class CallPage {
  /** @param {(id: string) => Row[]} rows */
  constructor(rows) {
    this.rows = rows;
    this.root = part("call");
    /** @type {string | null} */
    this.id = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    /** @type {any} */
    this.told = null;
    this.built = "";
    /** @type {Medium[]} */
    this.media = [];
    this.title = make("h1", { class: "id", tabindex: -1 });
    this.state = make("p", { class: "quiet" });
    this.problem = make("p", { class: "hint", role: "status", hidden: true });
    this.recorder = make("button", { type: "button" }, "Record …");
    this.tracer = make("button", { type: "button" }, "Save trace");
    this.body = make("div");
    this.recorder.addEventListener("click", () => this.record());
    this.tracer.addEventListener("click", () => this.trace());
    const back = make("a", { href: "#/", class: "back" }, "← All calls");
    this.root.append(
      back,
      make("div", { class: "bar" }, make("div", { class: "grow" }, this.title, this.state), this.recorder, this.tracer),
      this.problem, this.body,
    );
  }

  /** @param {string | null} id null: no longer */
  open(id) {
    clearTimeout(this.timer);
    set(this.root, { hidden: id === null });
    if (id === this.id) return;
    [this.id, this.told, this.built] = [id, null, ""];
    this.body.replaceChildren();
    set(this.problem, { hidden: true });
    say(this.title, "");
    say(this.state, id === null ? "" : "Asking …");
    if (id !== null) {
      this.look().then(() => this.title.focus({ preventScroll: true }));
    }
  }

  async look() {
    const id = this.id;
    clearTimeout(this.timer);
    if (id === null) return;
    try {
      const told = await ask(`calls/${id}`);
      if (id === this.id) this.show(told);
    } catch (error) {
      if (id === this.id) this.fail(error);
    }
    if (id === this.id) this.timer = setTimeout(() => this.look(), EVERY);
  }

  /** @param {unknown} error */
  fail(error) {
    say(this.problem, error instanceof Refused ? `${error.message}.` : "The relay cannot be reached.");
    set(this.problem, { hidden: false });
    set(this.recorder, { disabled: true });
    if (this.told === null) say(this.state, "");
  }

  /** @param {any} told an answer of GET calls/ID */
  show(told) {
    this.told = told;
    set(this.problem, { hidden: true });
    say(this.title, told.call_id || "(empty)");
    const ended = told.sessions.every((/** @type {any} */ each) => each.ended);
    const recorded = told.sessions.some((/** @type {any} */ each) =>
      each.legs.some((/** @type {any} */ leg) => leg.recording));
    set(this.recorder, { disabled: ended });
    say(this.recorder, recorded ? "Stop recording …" : "Record …");
    say(this.state, this.summary(told.sessions[0], ended, recorded));
    const key = told.sessions.map((/** @type {any} */ each) => each.from_tag).join("\n");
    if (key !== this.built) {
      this.built = key;
      this.media = told.sessions.map((/** @type {any} */ _, /** @type {number} */ i) =>
        new Medium(told.sessions.length > 1 ? `Medium ${i + 1}` : ""));
      this.body.replaceChildren(...this.media.map((medium) => medium.root));
    }
    const rows = this.id === null ? [] : this.rows(this.id);
    told.sessions.forEach((/** @type {any} */ session, /** @type {number} */ i) => {
      this.media[i].show(session, rows.find((row) => row.session.from_tag === session.from_tag));
    });
  }

  /** @param {any} session @param {boolean} ended @param {boolean} recorded */
  summary(session, ended, recorded) {
    const words = [
      ended ? `Ended: ${session.ended}` : STATES[session.state] ?? session.state,
      duration(session.seconds), `since ${clock(session.created)}`,
    ];
    if (recorded && !ended) words.push("● recorded");
    if (this.told.debug) words.push("logged in detail");
    return words.join(" · ");
  }

  get recorded() {
    return this.recorder.textContent?.startsWith("Stop") ?? false;
  }

  async record() {
    const [id, stop] = [this.id, this.recorded];
    const yes = await confirm(stop
      ? { title: "Stop recording?", text: "What is recorded stays where it is.", yes: "Stop" }
      : { title: "Record this call?", text: "Both parties are recorded from now on. The relay logs that it was asked for here.", yes: "Record" });
    if (yes !== null) await this.act(() => ask(`calls/${id}/record`, stop ? "DELETE" : "POST"));
  }

  async trace() {
    const id = this.id;
    if (id !== null) await this.act(() => saveTrace(id));
  }

  /** @param {() => Promise<unknown>} action */
  async act(action) {
    try {
      await action();
      await this.look();
    } catch (error) {
      this.fail(error);
      set(this.recorder, { disabled: false });
    }
  }
}

/** One medium of a call. */
class Medium {
  /** @param {string} name */
  constructor(name) {
    this.drawing = make("div", { class: "through" });
    this.verdicts = make("div", { class: "verdicts" });
    this.charts = {
      mos: new Chart("MOS", 1, 4.5, 1),
      rate: new Chart("Packets a second", 0, 10, 0),
      jitter: new Chart("Jitter, ms", 0, 5, 1),
      loss: new Chart("Loss, %", 0, 5, 1),
    };
    this.table = make("table", { class: "figures" });
    this.timeline = make("ol", { class: "timeline" });
    this.told = "";
    const charts = make("div", { class: "charts" }, ...Object.values(this.charts).map((chart) => chart.root));
    const legend = make("p", { class: "quiet legend" },
      make("span", { class: "key caller" }, "caller"), " ", make("span", { class: "key callee" }, "callee"));
    this.root = make("section", { class: "medium", "aria-label": name || "Media" },
      ...(name ? [make("h2", {}, name)] : []),
      this.verdicts, this.drawing,
      make("div", { class: "bar" }, make("h2", {}, "Quality over time"), legend), charts,
      make("div", { class: "halves" },
        make("section", {}, make("h2", {}, "Figures"), this.table),
        make("section", {}, make("h2", {}, "Timeline"), this.timeline)));
  }

  /** @param {any} session @param {Row | undefined} row */
  show(session, row) {
    this.verdicts.replaceChildren(...[...session.legs]
      .sort((a, b) => severity(b.verdict.code) - severity(a.verdict.code)).map(verdict));
    this.draw(session, row);
    this.showCharts(session, row);
    this.showFigures(session.legs);
    this.showTimeline(session);
  }

  /** @param {any} session @param {Row | undefined} row */
  draw(session, row) {
    const [caller, callee] = session.legs;
    const live = row?.session.legs;
    const how = live ? path(live[0], live[1]) : "";
    this.drawing.replaceChildren(
      place("Caller", caller), arrow(caller, row?.rates[0], !session.ended),
      make("div", { class: "relay" }, make("strong", {}, "relay"), make("span", { class: "quiet" }, how),
        make("span", { class: "port" }, caller.local ?? ""), make("span", { class: "port" }, callee.local ?? "")),
      arrow(callee, row?.rates[1], !session.ended), place("Callee", callee),
    );
  }

  /** @param {any} session @param {Row | undefined} row */
  showCharts(session, row) {
    const first = session.created;
    for (const [name, chart] of Object.entries(this.charts)) {
      const lines = session.legs.map((/** @type {any} */ leg, /** @type {number} */ side) =>
        series(name, leg, side, row));
      const end = Math.max(first + session.seconds, first + 10);
      const known = lines.flatMap((/** @type {any} */ line) => line.times);
      const begin = known.length ? Math.min(...known) : first;
      chart.show(lines, begin, end, first);
    }
  }

  /** @param {any[]} legs */
  showFigures(legs) {
    const head = make("tr", {}, make("td"), ...legs.map((leg) => make("th", { scope: "col" }, leg.side)));
    const rows = FIGURES.map(([name, note, value, poor]) => {
      const title = make("th", { scope: "row" }, name, ...(note ? [make("span", { class: "quiet" }, ` ${note}`)] : []));
      return make("tr", {}, title, ...legs.map((leg) => {
        const bad = poor?.(leg);
        return make("td", { class: bad ? "poor" : null }, bad ? `▾ ${value(leg)}` : value(leg));
      }));
    });
    this.table.replaceChildren(make("caption", { class: "unseen" }, "Figures of both legs"), make("thead", {}, head), make("tbody", {}, ...rows));
  }

  /** @param {any} session */
  showTimeline(session) {
    const told = JSON.stringify(session.timeline);
    if (told === this.told) return;
    this.told = told;
    this.timeline.replaceChildren(...session.timeline.map((/** @type {any} */ entry) => make("li", { class: entry.kind },
      make("time", {}, entry.at === null ? "" : `+${(entry.at - session.created).toFixed(1)} s`),
      make("span", { class: "kind" }, KINDS[entry.kind] ?? entry.kind),
      make("span", { class: "what" }, entry.text))));
  }
}

/** @param {any} leg */
function verdict(leg) {
  const { code, sentence, evidence, hint } = leg.verdict;
  const what = grade(code);
  const said = make("div", { class: `verdict-card ${what}` },
    mark(what),
    make("div", { class: "grow" },
      make("p", { class: "lead" }, make("strong", {}, `${leg.side}: ${label(code)}`), ` — ${sentence}.`)));
  const more = said.lastElementChild;
  if (hint) more?.append(make("p", { class: "advice" }, phrase(hint)));
  if (what !== "good" && evidence.length) {
    more?.append(make("ul", { class: "quiet" }, ...evidence.map((/** @type {string} */ text) => make("li", {}, text))));
  }
  return said;
}

/** As a sentence of its own. @param {string} text */
const phrase = (text) => `${text[0].toUpperCase()}${text.slice(1)}${text.endsWith(".") ? "" : "."}`;

/** @param {string} name @param {any} leg */
function place(name, leg) {
  const differs = leg.signalled && leg.remote && leg.signalled !== leg.remote;
  return make("div", { class: `party-box ${grade(leg.verdict.code)}` },
    make("span", { class: "quiet" }, name), make("strong", {}, leg.remote ?? "not known yet"),
    ...(differs ? [make("span", { class: "quiet" }, `said ${leg.signalled}`)] : []),
    ...(leg.recording ? [make("span", { class: "quiet" }, "● recorded")] : []));
}

/** @param {any} leg @param {number | undefined} rate @param {boolean} live */
function arrow(leg, rate, live) {
  const what = grade(leg.verdict.code);
  const moves = live && (rate ?? 0) >= 0.5;
  const words = live && rate !== undefined ? `${count(rate)}/s` : `${count(leg.rtp.accepted)} packets`;
  return make("div", { class: `flow ${leg.side} ${what} ${moves ? "moves" : "still"}` },
    make("span", { class: "rate" }, words), make("span", { class: "line", "aria-hidden": "true" }),
    make("span", { class: "quiet" }, label(leg.verdict.code)));
}

/**
 * The intervals of 10 s that the relay remembers, and after them the seconds that we saw.
 * @param {string} name @param {any} leg @param {number} side @param {Row | undefined} row
 */
function series(name, leg, side, row) {
  const factor = name === "loss" ? 100 : 1;
  const [times, values] = [row?.past.times() ?? [], row?.past.values(/** @type {any} */ (name), side) ?? []];
  const first = times[0] ?? Infinity;
  const known = (leg.history ?? []).map((/** @type {any} */ each) => [each.at, interval(name, each)])
    .filter((/** @type {number[]} */ each) => each[0] < first);
  return {
    name: leg.side,
    kind: leg.side,
    times: [...known.map((/** @type {number[]} */ each) => each[0]), ...times],
    values: [...known.map((/** @type {number[]} */ each) => factor * each[1]), ...values.map((each) => factor * each)],
  };
}

/** @param {string} name @param {any} told */
function interval(name, told) {
  switch (name) {
    case "mos": return told.mos ?? NaN;
    case "jitter": return told.jitter_ms ?? NaN;
    case "loss": return told.lost + told.packets > 0 ? Math.max(0, told.lost) / (told.lost + told.packets) : NaN;
    default: return told.seconds > 0 ? told.packets / told.seconds : NaN;
  }
}
