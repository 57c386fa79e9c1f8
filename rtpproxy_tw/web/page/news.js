// What one would like to be called for: verdicts that changed, recordings, ends nobody asked for.

import { make, part } from "./dom.js";
import { mark } from "./marks.js";
import { clock, grade, label } from "./words.js";

/** @typedef {import("./store.js").News} News */

/** @param {News} news */
export function sentence({ kind, side, code }) {
  switch (kind) {
    case "verdict": return `${side}: ${label(code)}`;
    case "recording": return `Recording ${code}`;
    case "address": return code;
    default: return code === "deleted" ? "Ended while in trouble" : `Ended: ${code}`;
  }
}

/** @param {News} news @returns {import("./words.js").Grade} */
function degree({ kind, code }) {
  if (kind === "verdict") return grade(code);
  return kind === "end" || kind === "address" ? "warn" : "wait";
}

/** The list of events, newest first. */
export class Events {
  constructor() {
    this.root = part("news");
    this.shown = "";
  }

  /** @param {News[]} news */
  show(news) {
    const key = news.length ? `${news.length} ${news[0].at} ${news[0].id} ${news[0].code}` : "none";
    if (key === this.shown) return;
    this.shown = key;
    if (news.length === 0) {
      this.root.replaceChildren(make("p", { class: "empty" }, "Nothing out of the ordinary."));
      return;
    }
    const items = news.map((each) => make(
      "li", {},
      mark(degree(each)),
      make("time", { datetime: new Date(1000 * each.at).toISOString() }, clock(each.at)),
      make("span", { class: "what" }, sentence(each)),
      ...(each.kind === "address" ? [] : [
        make("a", { class: "id", href: `#/call/${each.id}` }, each.call_id || "(empty)"),
      ]),
    ));
    this.root.replaceChildren(make("ol", { class: "events", tabindex: 0, "aria-label": "Events, newest first" }, ...items));
  }
}
