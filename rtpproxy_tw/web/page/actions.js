// Asking the relay, and telling it to do something after somebody has confirmed it.

import { part, say, set } from "./dom.js";

/** A request that was refused, with the relay's own sentence. */
export class Refused extends Error {
  /** @param {number} status @param {string} sentence */
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

/** @param {Record<string, string>} [more] */
function headers(more = {}) {
  const token = sessionStorage.getItem("token");
  return token ? { ...more, Authorization: `Bearer ${token}` } : more;
}

/**
 * @param {string} path below api/v1/ @param {string} [method] @param {object} [told]
 * @returns {Promise<any>} raises Refused
 */
export async function ask(path, method = "GET", told) {
  const sent = told && { body: JSON.stringify(told), headers: headers({ "Content-Type": "application/json" }) };
  const answer = await fetch(`api/v1/${path}`, { method, headers: headers(), cache: "no-store", ...sent });
  const body = await answer.json();
  if (!answer.ok) throw new Refused(answer.status, body?.error?.sentence ?? `status ${answer.status}`);
  return body;
}

/** @param {string} id of the last event that was heard */
export function events(id) {
  return fetch("api/v1/events", { headers: headers(id ? { "Last-Event-ID": id } : {}), cache: "no-store" });
}

/** Have the trace of a call saved as a file. @param {string} id raises Refused */
export async function saveTrace(id) {
  const answer = await fetch(`api/v1/calls/${id}/trace`, { headers: headers(), cache: "no-store" });
  if (!answer.ok) throw new Refused(answer.status, (await answer.json()).error.sentence);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = "trace.pcap";
  link.click();
  URL.revokeObjectURL(link.href);
}

/**
 * @typedef {object} Question
 * @property {string} title @property {string} text @property {string} yes
 * @property {Field} [field] what may be typed in
 */

/**
 * @typedef {object} Field
 * @property {string} label @property {"password" | "number"} type
 * @property {boolean} [first] whether it is what the question is about
 */

/** @type {((answer: string | null) => void) | null} */
let answer = null;

/** @param {Question} question @returns {Promise<string | null>} null: no */
export function confirm({ title, text, yes, field }) {
  const dialog = part("dialog", HTMLDialogElement);
  const input = part("dialog-input", HTMLInputElement);
  say(part("dialog-title"), title);
  say(part("dialog-text"), text);
  say(part("dialog-yes"), yes);
  set(part("dialog-field"), { hidden: !field });
  say(part("dialog-label"), field?.label ?? "");
  set(input, { type: field?.type ?? "text" });
  input.value = "";
  dialog.showModal();
  (field?.first ? input : part("dialog-no")).focus();
  return new Promise((resolve) => {
    answer = resolve;
  });
}

/** @param {string | null} text */
function close(text) {
  const tell = answer;
  answer = null;
  part("dialog", HTMLDialogElement).close();
  tell?.(text);
}

/** Make the dialog work. */
export function prepare() {
  const input = part("dialog-input", HTMLInputElement);
  // What is no number, or a negative one, would read as nothing at all.
  const agree = () => {
    if (input.reportValidity()) close(input.value);
  };
  part("dialog-yes").addEventListener("click", agree);
  part("dialog-no").addEventListener("click", () => close(null));
  part("dialog").addEventListener("cancel", (event) => {
    event.preventDefault();
    close(null);
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter") agree();
  });
}

let asking = false;

/** Have the token typed in, for this tab only. @param {string} why @returns {Promise<boolean>} */
export async function wantToken(why) {
  if (asking) return false;
  asking = true;
  const given = await confirm({ title: "Token", text: why, yes: "Use", field: { label: "Token", type: "password", first: true } });
  asking = false;
  if (given) sessionStorage.setItem("token", given);
  return Boolean(given);
}
