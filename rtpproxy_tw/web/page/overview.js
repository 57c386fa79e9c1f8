// The relay as a whole: sessions and room, ports, traffic, trouble, path.

import { make, part, say, set } from "./dom.js";
import { Mark, Meter, Spark } from "./marks.js";
import { count } from "./words.js";

/** @typedef {import("./store.js").Store} Store */

/** A figure with its name, and what else belongs to it. */
class Tile {
  /** @param {string} name @param {...Element} more */
  constructor(name, ...more) {
    this.value = make("p", { class: "value" });
    this.note = make("p", { class: "quiet" });
    this.root = make("div", { class: "tile" }, make("h2", {}, name), this.value, ...more, this.note);
  }

  /** @param {string} value @param {string} note */
  show(value, note) {
    say(this.value, value);
    say(this.note, note);
    set(this.note, { title: note || null });
  }
}

/** What is above the list. `onTrouble` is called when somebody asks for the calls in trouble. */
export class Overview {
  /** @param {() => void} onTrouble */
  constructor(onTrouble) {
    this.room = new Meter("Sessions");
    this.sessions = new Tile("Sessions", this.room.root);
    this.spark = new Spark(160, 28);
    this.traffic = new Tile("Packets a second", this.spark.root);
    this.mark = new Mark();
    this.trouble = new Tile("Parties in trouble");
    this.shower = make("button", { type: "button", class: "link", disabled: true }, "Show them");
    this.shower.addEventListener("click", onTrouble);
    this.trouble.value.before(this.mark.root);
    this.trouble.root.append(this.shower);
    this.paths = new Meter("Media through the kernel");
    this.path = new Tile("Path", this.paths.root);
    /** @type {Map<string, {tile: Tile, meter: Meter}>} */
    this.ports = new Map();
    this.root = part("overview");
    this.root.append(
      this.sessions.root, this.trouble.root, this.traffic.root, this.path.root,
    );
  }

  /** @param {Store} store */
  show(store) {
    const relay = store.relay;
    if (relay === null) return;
    const { calls, why } = relay.capacity;
    const known = `room for ${count(calls)}, ${why}`;
    this.room.show(relay.sessions, calls, `${relay.sessions} sessions; ${known}`);
    this.sessions.show(count(relay.sessions), known);
    this.showTraffic(store);
    this.showTrouble(store.trouble);
    this.showPath(relay);
    for (const each of sorted(relay.ports)) this.showPorts(each);
  }

  /** @param {Store} store */
  showTraffic(store) {
    const rates = store.traffic.map((each) => each.rate);
    this.spark.show(rates, 0, 1);
    const rate = rates.at(-1) ?? NaN;
    this.traffic.show(Number.isNaN(rate) ? "–" : count(rate), "received, the last 90 s");
  }

  /** @param {number} trouble */
  showTrouble(trouble) {
    this.mark.show(trouble ? "bad" : "good");
    this.trouble.show(count(trouble), trouble ? "" : "everyone is heard, or is not expected to be");
    set(this.trouble.root, { class: trouble ? "tile alarm" : "tile" });
    set(this.shower, { disabled: !trouble, hidden: !trouble });
  }

  /** @param {import("./store.js").Relay} relay */
  showPath(relay) {
    const legs = 2 * relay.sessions;
    const share = legs ? Math.round((100 * relay.kernel) / legs) : 0;
    const words = relay.kernel
      ? `${count(relay.kernel)} of ${count(legs)} legs through the kernel`
      : "all media goes through the process";
    this.paths.show(relay.kernel, legs, words);
    this.path.show(relay.kernel ? `${share} % kernel` : "Process", words);
  }

  /** @param {{family: string, pairs: number, free: number}} told */
  showPorts({ family, pairs, free }) {
    let shown = this.ports.get(family);
    const name = family === "ipv6" ? "IPv6 ports" : family === "ipv4" ? "IPv4 ports" : `Ports ${family}`;
    if (shown === undefined) {
      const meter = new Meter(name);
      shown = { meter, tile: new Tile(name, meter.root) };
      this.ports.set(family, shown);
      this.trouble.root.before(shown.tile.root);
    }
    const words = `of ${count(pairs)} pairs taken`;
    shown.meter.show(pairs - free, pairs, `${pairs - free} ${words}`);
    shown.tile.show(count(pairs - free), words);
  }
}

/** @param {{family: string, pairs: number, free: number}[]} ports IPv4 first, wherever it comes */
const sorted = (ports) => [...ports].sort((a, b) => (a.family < b.family ? -1 : 1));
