// What is known of the calls: put together from events, remembered for a minute, filtered, sorted.

import { severity } from "./words.js";

/**
 * @typedef {object} Leg
 * @property {string} side @property {string} verdict @property {string} sentence
 * @property {string | null} remote @property {string | null} local @property {string | null} codec
 * @property {boolean} kernel @property {number} packets @property {number} relayed
 * @property {number} received @property {number} lost @property {number} loss_ratio
 * @property {number | null} jitter_ms @property {number | null} rtt_ms
 * @property {number | null} mos @property {number | null} mos_last
 *
 * @typedef {object} Session
 * @property {string} from_tag @property {string} state @property {number} created
 * @property {boolean} recording @property {[Leg, Leg]} legs
 *
 * @typedef {object} Call
 * @property {string} id @property {string} call_id @property {number} at
 * @property {Session[]} sessions
 *
 * @typedef {object} Relay
 * @property {string} version @property {number} time @property {number} sessions
 * @property {boolean} draining @property {boolean} ending
 * @property {number} of sessions when draining began @property {number | null} seconds_left
 * @property {Fleet | null} fleet the other relays; null without --redis
 * @property {Record<string, number>} totals
 * @property {{calls: number, why: string}} capacity
 * @property {{family: string, pairs: number, free: number}[]} ports
 * @property {Record<string, number>} verdicts @property {Record<string, number>} states
 * @property {number} kernel
 *
 * @typedef {object} Fleet
 * @property {string} node @property {{usable: boolean, why: string, queue: number}} store
 * @property {{address: string, role: string, owner: string | null, owner_alive: boolean}[]} addresses
 * @property {FleetNode[]} nodes
 *
 * @typedef {object} FleetNode
 * @property {string} node @property {boolean} alive @property {number | null} sessions
 * @property {number | null} room @property {boolean | null} draining @property {string[] | null} owns
 *
 * @typedef {object} News
 * @property {number} at @property {string} id @property {string} call_id @property {string} kind
 * @property {string | null} side @property {string} code
 *
 * @typedef {"verdict" | "call" | "age" | "rate" | "mos" | "jitter" | "loss"} Order
 *
 * @typedef {object} Wish
 * @property {string} search @property {string} verdict a code, "trouble", or "" for any
 * @property {string} state @property {Order} order @property {boolean} reverse
 */

const KEPT = 90;
const SHORTEST = 0.3; // seconds between two looks that make a rate
const SERIES = /** @type {const} */ (["rate", "mos", "jitter", "loss"]);
const WIDTH = 1 + 2 * SERIES.length;

/** @typedef {typeof SERIES[number]} Series */

/** The last figures of a session, a sample a second: a time, and for each leg each series. */
export class Past {
  constructor() {
    this.data = new Float64Array(KEPT * WIDTH);
    this.count = 0;
  }

  /** @param {number[]} sample */
  push(sample) {
    this.data.set(sample, (this.count++ % KEPT) * WIDTH);
  }

  /**
   * Oldest first; NaN where there was none.
   * @param {Series} series @param {number} leg 0 or 1
   */
  values(series, leg) {
    return this.column(1 + 2 * SERIES.indexOf(series) + leg);
  }

  times() {
    return this.column(0);
  }

  /** @param {number} offset */
  column(offset) {
    const first = Math.max(0, this.count - KEPT);
    return Array.from(
      { length: this.count - first },
      (_, i) => this.data[((first + i) % KEPT) * WIDTH + offset],
    );
  }
}

/** A session as the list shows it. */
export class Row {
  /** @param {Call} call @param {Session} session */
  constructor(call, session) {
    this.key = `${call.id} ${session.from_tag}`;
    this.call = call;
    this.session = session;
    /** What rates are measured from. */
    this.base = { at: call.at, session };
    this.past = new Past();
    this.rates = [0, 0];
    this.worst = session.legs[0];
  }

  /** @param {Call} call @param {Session} session */
  renew(call, session) {
    const span = call.at - this.base.at;
    if (span >= SHORTEST) {
      this.measure(session, call.at, span);
      this.base = { at: call.at, session };
    }
    this.call = call;
    this.session = session;
    const [caller, callee] = session.legs;
    this.worst = severity(callee.verdict) > severity(caller.verdict) ? callee : caller;
  }

  /** @param {Session} session @param {number} at @param {number} span seconds */
  measure(session, at, span) {
    const sample = [at];
    /** @type {[number, number][]} */
    const losses = [];
    session.legs.forEach((leg, side) => {
      const before = this.base.session.legs[side];
      this.rates[side] = Math.max(0, leg.packets - before.packets) / span;
      const lost = leg.lost - before.lost;
      const sent = lost + leg.received - before.received;
      losses.push([Math.max(0, lost), sent]);
    });
    for (const side of [0, 1]) sample[1 + side] = this.rates[side];
    session.legs.forEach((leg, side) => {
      // Of who is silent the last figures are no present ones.
      const silent = this.rates[side] === 0;
      sample[3 + side] = silent ? NaN : present(leg) ?? NaN;
      sample[5 + side] = silent ? NaN : leg.jitter_ms ?? NaN;
      sample[7 + side] = losses[side][1] > 0 ? losses[side][0] / losses[side][1] : NaN;
    });
    this.past.push(sample);
  }

  /** @param {(leg: Leg) => number | null} figure */
  least(figure) {
    const found = this.session.legs.map(figure).filter((each) => each !== null);
    return found.length ? Math.min(...found) : null;
  }
}

/** The score of the last whole interval, or of the call so far while there is none. @param {Leg} leg */
export const present = (leg) => leg.mos_last ?? leg.mos;

export class Store {
  constructor() {
    /** @type {Map<string, Row>} */
    this.rows = new Map();
    /** @type {Map<string, Set<string>>} */
    this.keys = new Map();
    /** @type {News[]} newest first */
    this.news = [];
    /** @type {Relay | null} */
    this.relay = null;
    /** @type {{at: number, packets: number, rate: number}[]} */
    this.traffic = [];
  }

  /** @param {{reset: boolean, calls: Call[], gone: string[]}} told */
  calls(told) {
    if (told.reset) {
      this.rows.clear();
      this.keys.clear();
      this.news = [];
    }
    for (const id of told.gone) this.drop(id);
    for (const call of told.calls) this.renew(call);
  }

  /** @param {Call} call */
  renew(call) {
    const before = this.keys.get(call.id);
    const keys = new Set();
    for (const session of call.sessions) {
      const made = new Row(call, session);
      const row = this.rows.get(made.key) ?? made;
      row.renew(call, session);
      this.rows.set(row.key, row);
      keys.add(row.key);
    }
    for (const key of before ?? []) if (!keys.has(key)) this.rows.delete(key);
    this.keys.set(call.id, keys);
  }

  /** @param {string} id */
  drop(id) {
    for (const key of this.keys.get(id) ?? []) this.rows.delete(key);
    this.keys.delete(id);
  }

  /** @param {News[]} told */
  add(told) {
    this.news = [...told, ...this.news].sort((a, b) => b.at - a.at).slice(0, 100);
  }

  /** @param {Relay} relay */
  whole(relay) {
    const packets = relay.totals.npkts_rcvd ?? 0;
    const last = this.traffic.at(-1);
    const span = last ? relay.time - last.at : 0;
    if (span < 0 || span > 30) this.traffic = [];
    const rate = last && span > SHORTEST ? Math.max(0, packets - last.packets) / span : NaN;
    this.traffic = [...this.traffic, { at: relay.time, packets, rate }].slice(-KEPT);
    this.relay = relay;
  }

  /** Legs in trouble. */
  get trouble() {
    const entries = Object.entries(this.relay?.verdicts ?? {});
    return entries.reduce((sum, [code, legs]) => sum + (severity(code) >= 200 ? legs : 0), 0);
  }

  /** @param {Wish} wish @returns {Row[]} */
  view(wish) {
    const found = [...this.rows.values()].filter((row) => admits(row, wish));
    const by = ORDERS[wish.order];
    const sign = wish.reverse ? -1 : 1;
    return found.sort(
      (a, b) => sign * by(a, b) || b.session.created - a.session.created || compare(a.key, b.key),
    );
  }
}

/** @param {Row} row @param {Wish} wish */
function admits(row, wish) {
  const { legs, state } = row.session;
  if (wish.state && state !== wish.state) return false;
  if (wish.verdict === "trouble") {
    if (!legs.some((leg) => severity(leg.verdict) >= 200)) return false;
  } else if (wish.verdict && !legs.some((leg) => leg.verdict === wish.verdict)) {
    return false;
  }
  const text = wish.search.toLowerCase();
  return !text || [row.call.call_id, ...legs.map((leg) => leg.remote ?? "")]
    .some((each) => each.toLowerCase().includes(text));
}

/** @param {string} a @param {string} b */
const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

/** @param {number | null} a @param {number | null} b what is not known comes last */
const numbers = (a, b) => (a ?? Infinity) - (b ?? Infinity) || 0;

/** What comes first without `reverse` is what one most likely looks for.
 * @type {Record<Order, (a: Row, b: Row) => number>} */
const ORDERS = {
  verdict: (a, b) => severity(b.worst.verdict) - severity(a.worst.verdict),
  call: (a, b) => compare(a.call.call_id, b.call.call_id),
  age: (a, b) => b.session.created - a.session.created,
  rate: (a, b) => a.rates[0] + a.rates[1] - b.rates[0] - b.rates[1],
  mos: (a, b) => numbers(a.least(present), b.least(present)),
  jitter: (a, b) => numbers(most(a, (leg) => leg.jitter_ms), most(b, (leg) => leg.jitter_ms)),
  loss: (a, b) => numbers(most(a, (leg) => leg.loss_ratio), most(b, (leg) => leg.loss_ratio)),
};

/** @param {Row} row @param {(leg: Leg) => number | null} figure */
function most(row, figure) {
  const found = row.least((leg) => {
    const value = figure(leg);
    return value === null ? null : -value;
  });
  return found;
}
