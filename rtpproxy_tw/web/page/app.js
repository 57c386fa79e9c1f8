// The page: events in, what they change out. The address after # says what is shown.

import { Refused, ask, confirm, events, prepare, wantToken } from "./actions.js";
import { CallPage } from "./callpage.js";
import { make, part, say, set } from "./dom.js";
import { FleetList } from "./fleet.js";
import { Events, sentence } from "./news.js";
import { Overview } from "./overview.js";
import { Store } from "./store.js";
import { listen } from "./stream.js";
import { Table } from "./table.js";
import { CODES, STATES, count, label, severity } from "./words.js";

/** @typedef {import("./store.js").Order} Order */

/** @type {[Order, string, string][]} how it is called, and the other way round */
const ORDERS = [
  ["verdict", "Verdict, worst first", "Verdict, best first"],
  ["age", "Newest first", "Oldest first"],
  ["call", "Call-ID, A to Z", "Call-ID, Z to A"],
  ["mos", "MOS, lowest first", "MOS, highest first"],
  ["jitter", "Jitter, most first", "Jitter, least first"],
  ["loss", "Loss, most first", "Loss, least first"],
  ["rate", "Packets, fewest first", "Packets, most first"],
];

const store = new Store();
/** @type {import("./store.js").Wish} */
const wish = { search: "", verdict: "", state: "", order: "verdict", reverse: false };
let heard = false;
let announced = -Infinity;

const overview = new Overview(() => {
  part("verdict", HTMLSelectElement).value = wish.verdict = "trouble";
  location.hash = "#/";
  showList();
});
const fleet = new FleetList();
const table = new Table((order) => sortBy(order, order === wish.order && !wish.reverse));
const news = new Events();
const page = new CallPage((id) => [...(store.keys.get(id) ?? [])].flatMap((key) => store.rows.get(key) ?? []));

// What is shown.

function show() {
  overview.show(store);
  fleet.show(store.relay?.fleet ?? null);
  showDraining();
  news.show(store.news);
  if (page.id === null) showList();
}

function showList() {
  const rows = store.view(wish);
  const all = store.rows.size;
  say(part("count"), rows.length === all ? count(all) : `${count(rows.length)} of ${count(all)}`);
  const none = !heard ? "Asking the relay …" : all ? "No call is like that." : "No calls at the moment.";
  table.show(rows, store.relay?.time ?? 0, wish.order, wish.reverse, none);
}

function showDraining() {
  const relay = store.relay;
  if (relay === null) return;
  say(part("version"), relay.version);
  const [taking, button] = [part("taking"), part("drain")];
  set(taking, { hidden: false, class: relay.draining ? "pill warn" : "pill good" });
  say(taking, relay.draining ? drained(relay) : "Takes new calls");
  say(button, relay.draining ? "Take calls again …" : "Drain …");
  set(button, { disabled: relay.ending });
}

/** How far draining is. @param {import("./store.js").Relay} relay */
function drained(relay) {
  const left = relay.of ? `, ${count(relay.sessions)} of ${count(relay.of)} sessions left` : "";
  const limit = relay.seconds_left === null ? "" : `, ${count(Math.ceil(relay.seconds_left))} s to go`;
  return (relay.ending ? "Ends with its last call" : "Draining") + left + limit;
}

/** @param {string} hash */
function route(hash) {
  const id = hash.startsWith("#/call/") ? hash.slice("#/call/".length) : null;
  for (const each of ["list", "overview"]) set(part(each), { hidden: id !== null });
  fleet.away = id !== null;
  fleet.show(store.relay?.fleet ?? null);
  page.open(id);
  document.title = id === null ? "rtpproxy-tw" : `${decode(id)} – rtpproxy-tw`;
  if (id === null) showList();
}

/** @param {string} id */
function decode(id) {
  try {
    return decodeURIComponent(id);
  } catch {
    return id;
  }
}

// What is heard.

/** @param {string} name @param {any} data */
function hear(name, data) {
  switch (name) {
    case "calls":
      store.calls(data);
      break;
    case "news":
      store.add(data);
      if (heard) announce(data);
      break;
    case "relay":
      store.whole(data);
      heard = true;
      show();
  }
}

/** For those who do not see the list: the first piece of news, and how much more there is. */
function announce(/** @type {import("./store.js").News[]} */ told) {
  const bad = told.filter((each) => each.kind !== "verdict" || severity(each.code) >= 200);
  if (bad.length === 0 || performance.now() - announced < 3000) return;
  announced = performance.now();
  const more = bad.length > 1 ? ` and ${bad.length - 1} more` : "";
  say(part("announce"), `${sentence(bad[0])}, call ${bad[0].call_id.slice(0, 40)}${more}`);
}

/** @param {"live" | "lost" | "denied"} state @param {number} wait @param {string} why */
function connection(state, wait, why) {
  const link = part("link");
  set(link, { class: state === "live" ? "pill good" : "pill bad" });
  say(link, state === "live" ? "Live" : `Not connected; again in ${Math.ceil(wait / 1000)} s`);
  set(link, { title: why || null });
  set(document.body, { class: state === "live" ? null : "stale" });
  if (state === "denied") wantToken(`The relay says: ${why}.`).then((given) => given && location.reload());
}

// What is done.

/** @param {Order} order @param {boolean} reverse */
function sortBy(order, reverse) {
  [wish.order, wish.reverse] = [order, reverse];
  part("sort", HTMLSelectElement).value = `${order} ${reverse ? 1 : 0}`;
  showList();
}

async function drain() {
  const relay = store.relay;
  if (relay === null) return;
  const again = relay.draining;
  const yes = await confirm(again
    ? { title: "Take new calls again?", text: "The relay accepts new calls from now on.", yes: "Take calls" }
    : {
      title: "Refuse new calls?",
      text: `The ${count(relay.sessions)} sessions there are go on to their end; new ones are refused, and /readyz says so. What outlasts a limit goes on with another relay, or is ended. The relay logs it.`,
      yes: "Drain",
      field: { label: "Limit in seconds (empty: none)", type: "number" },
    });
  if (yes === null) return;
  try {
    const limit = yes === "" ? {} : { limit: Number(yes) };
    const told = await (again ? ask("drain", "DELETE") : ask("drain", "PUT", limit));
    store.relay = { ...relay, ...told };
    showDraining();
    say(part("announce"), told.draining ? "The relay drains." : "The relay takes new calls.");
  } catch (error) {
    const why = error instanceof Refused ? error.message : "the relay cannot be reached";
    await confirm({ title: "That did not work", text: `${why}.`, yes: "Close" });
  }
}

const THEMES = ["system", "light", "dark"];

/** @param {string} theme */
function wear(theme) {
  set(document.documentElement, { "data-theme": theme === "system" ? null : theme });
  say(part("theme"), `Theme: ${theme}`);
}

function prepareTheme() {
  let theme = localStorage.getItem("theme") ?? "system";
  wear(theme);
  part("theme").addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    localStorage.setItem("theme", theme);
    wear(theme);
  });
}

function prepareFilters() {
  const [verdict, state, sort] = ["verdict", "state", "sort"].map((id) => part(id, HTMLSelectElement));
  const search = part("search", HTMLInputElement);
  verdict.append(option("", "Any verdict"), option("trouble", "In trouble"), ...CODES.map((code) => option(code, label(code))));
  state.append(option("", "Any state"), ...Object.entries(STATES).map(([code, name]) => option(code, name)));
  sort.append(...ORDERS.flatMap(([order, one, other]) => [option(`${order} 0`, one), option(`${order} 1`, other)]));
  search.addEventListener("input", () => { wish.search = search.value.trim(); showList(); });
  verdict.addEventListener("change", () => { wish.verdict = verdict.value; showList(); });
  state.addEventListener("change", () => { wish.state = state.value; showList(); });
  sort.addEventListener("change", () => {
    const [order, reverse] = sort.value.split(" ");
    sortBy(/** @type {Order} */ (order), reverse === "1");
  });
}

/** @param {string} value @param {string} text */
const option = (value, text) => make("option", { value }, text);

prepare();
prepareTheme();
prepareFilters();
part("drain").addEventListener("click", drain);
addEventListener("hashchange", () => route(location.hash));
route(location.hash);
listen({ open: events, hear, state: connection });
