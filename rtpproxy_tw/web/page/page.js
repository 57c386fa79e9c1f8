// Lists the calls and says why one has no audio. All text is set as text, never as markup.
"use strict";

const QUIET = new Set(["ok", "learning", "held"]);
const status = document.getElementById("status");
const table = document.querySelector("table");
const rows = document.querySelector("tbody");
const why = document.getElementById("why");
const token = document.getElementById("token");
let chosen = null;

async function ask(path) {
  const headers = {};
  const known = sessionStorage.getItem("token");
  if (known) headers.Authorization = "Bearer " + known;
  const answer = await fetch(path, { headers, cache: "no-store" });
  token.hidden = answer.status !== 401;
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error.sentence);
  return body;
}

function cell(row, text, mark) {
  const made = row.insertCell();
  made.textContent = text;
  if (mark) made.className = mark;
  return made;
}

function show(list) {
  rows.replaceChildren();
  for (const call of list.calls) {
    for (const session of call.sessions) {
      const row = rows.insertRow();
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = call.call_id;
      button.addEventListener("click", () => { chosen = call.id; explain(); });
      cell(row, "").append(button);
      cell(row, session.state);
      cell(row, session.seconds.toFixed(0));
      for (const leg of session.legs) {
        cell(row, leg.verdict, QUIET.has(leg.verdict) ? "ok" : "bad");
      }
    }
  }
  table.hidden = list.count === 0;
}

async function explain() {
  if (chosen === null) return;
  const list = why.querySelector("ul");
  try {
    const told = await ask("api/v1/calls/" + chosen + "/why");
    why.querySelector("h2").textContent = told.call_id;
    list.replaceChildren();
    for (const session of told.sessions) {
      for (const leg of session.legs) {
        const item = document.createElement("li");
        item.textContent = [leg.side + ": " + leg.sentence, ...leg.evidence, leg.hint]
          .filter(Boolean).join(" — ");
        list.append(item);
      }
    }
    why.hidden = false;
  } catch (error) {
    why.hidden = true;
    chosen = null;
  }
}

async function look() {
  try {
    const [room, list] = [await ask("api/v1/capacity"), await ask("api/v1/calls?limit=100")];
    status.textContent = `${room.sessions} sessions; room for ${room.calls} calls, ${room.why}.`;
    show(list);
    await explain();
  } catch (error) {
    status.textContent = error.message;
  }
  setTimeout(look, 2000);
}

token.querySelector("button").addEventListener("click", () => {
  sessionStorage.setItem("token", token.querySelector("input").value);
});
look();
