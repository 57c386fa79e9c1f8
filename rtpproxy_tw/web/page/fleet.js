// The relays of the cluster: who lives, who owns what, how many sessions, how much room.

import { make, part, say, set } from "./dom.js";
import { count } from "./words.js";

/** @typedef {import("./store.js").Fleet} Fleet */
/** @typedef {import("./store.js").FleetNode} FleetNode */

const COLUMNS = ["Relay", "State", "Addresses", "Sessions", "Room"];

/** One row for each relay; nothing where there is no cluster. */
export class FleetList {
  constructor() {
    this.away = false;
    this.root = part("fleet");
    this.store = make("p", { class: "quiet" });
    this.body = make("tbody");
    /** @type {Map<string, HTMLTableRowElement>} */
    this.rows = new Map();
    const heads = COLUMNS.map((name) => make("th", { scope: "col" }, name));
    this.root.append(
      make("div", { class: "bar" }, make("h2", { id: "fleet-title" }, "Relays"), this.store),
      make("table", {}, make("thead", {}, make("tr", {}, ...heads)), this.body),
    );
  }

  /** @param {Fleet | null} fleet */
  show(fleet) {
    set(this.root, { hidden: fleet === null || this.away });
    if (fleet === null) return;
    const { usable, why, queue } = fleet.store;
    say(this.store, usable ? "Redis answers" : `Redis is not to be used: ${why}; ${count(queue)} sessions wait`);
    set(this.store, { class: usable ? "quiet" : "pill bad" });
    const names = new Set(fleet.nodes.map((each) => each.node));
    for (const [name, row] of this.rows) {
      if (names.has(name)) continue;
      row.remove();
      this.rows.delete(name);
    }
    for (const each of fleet.nodes) this.row(each, each.node === fleet.node);
  }

  /** @param {FleetNode} told @param {boolean} us */
  row(told, us) {
    let row = this.rows.get(told.node);
    if (row === undefined) {
      row = make("tr", {}, ...COLUMNS.map(() => make("td")));
      this.rows.set(told.node, row);
      this.body.append(row);
    }
    const state = !told.alive ? "Gone" : told.draining ? "Draining" : "Up";
    const texts = [
      us ? `${told.node} (this one)` : told.node,
      state,
      (told.owns ?? []).join(", ") || "none",
      told.alive ? count(told.sessions ?? 0) : "–",
      told.alive ? count(told.room ?? 0) : "–",
    ];
    texts.forEach((text, at) => say(row.cells[at], text));
    set(row, { class: told.alive ? null : "gone" });
  }
}
