"use strict";
// The first page of Heliograph: what is going on, and why somebody did or did not get a mail.
const byId = (id) => document.getElementById(id);
const LIVE_ROWS = 60, REFRESH_MS = 2000;

async function api(path) {
  const response = await fetch("/api/" + path, { headers: { accept: "application/json", "x-heliograph": "1" } });
  if (response.status === 401) { loggedOut(); throw new Error("logged out"); }
  const body = await response.json();
  if (!response.ok) throw new Error(body.detail || body.title || response.statusText);
  return body;
}

function loggedOut() {
  if (Date.now() - Number(sessionStorage.getItem("logged_out")) < 10000) return;
  sessionStorage.setItem("logged_out", Date.now());
  location.reload();
}

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour12: false });

function fill(id, rows, empty) {
  byId(id).replaceChildren(...rows);
  byId(empty).hidden = rows.length > 0;
}

function row(cells) {
  const tr = element("tr");
  tr.append(...cells);
  return tr;
}

const number = (value) => element("td", "n", value.toLocaleString());

async function showJourneys() {
  const { journeys } = await api("journeys");
  fill("journeys", journeys.map((j) => row([element("td", "", j.name + (j.removed ? " (removed)" : "") + (j.paused ? " (paused)" : "")), ...["active", "started", "held_out", "finished", "exited", "sent", "skipped", "goals"].map((k) => number(j[k]))])), "no-journeys");
  const select = byId("journey"), chosen = select.value;
  select.replaceChildren(...journeys.map((j) => { const option = element("option", "", j.name); option.value = j.name; return option; }));
  if (chosen) select.value = chosen;
}

async function showSegments() {
  const { segments } = await api("segments");
  fill("segments", segments.map((s) => row([element("td", "", s.name), number(s.count)])), "no-segments");
}

function status(message) {
  const cell = element("td");
  cell.append(element("span", "tag " + message.status, message.status));
  if (message.reason) cell.append(element("span", "reason", message.reason));
  return cell;
}

async function showMessages() {
  const { messages } = await api("messages?limit=20");
  fill("messages", messages.map((m) => row([element("td", "soft when", clock(m.sent_at || m.created_at)), element("td", "", m.address || m.profile_id), element("td", "", m.template), element("td", "soft", m.journey || `broadcast ${m.broadcast_id}`), status(m)])), "no-messages");
}

const sum = (counts, ...names) => (names.length ? names : Object.keys(counts)).reduce((all, name) => all + (counts[name] || 0), 0);

async function showBroadcasts() {
  const { broadcasts } = await api("broadcasts?limit=5");
  byId("broadcasts-card").hidden = !broadcasts.length;
  byId("broadcasts").replaceChildren(...broadcasts.map((b) => {
    const { people, messages, skipped } = b.progress;
    const figures = [people.offered, people.total, people.waiting + sum(messages, "queued", "deferred", "sending"), sum(messages, "sent", "delivered"), messages.bounced || 0, sum(people.refused) + people.held_out + sum(skipped)];
    return row([element("td", "", b.name === b.broadcast_id ? b.name : `${b.name} (${b.broadcast_id})`), status(b), ...figures.map(number)]);
  }));
}

async function showPlan() {
  const plan = await api("plan");
  byId("project").textContent = plan.document.project.name;
  byId("plan").textContent = "plan " + plan.version;
  const sweep = plan.building;
  byId("building").hidden = !sweep;
  if (sweep) byId("building").textContent = `building segments: ${sweep.done} of ${sweep.total}`;
}

async function refresh() {
  if (!document.hidden) {
    try { await Promise.all([showPlan(), showJourneys(), showSegments(), showBroadcasts(), showMessages()]); } catch (error) { console.warn(error.message); }
  }
  setTimeout(refresh, REFRESH_MS);
}

// What happened, in the words of the tables.
function told(item) {
  if (item.kind === "message") return `${item.template} ${item.status}`;
  if (item.kind === "segment") return `${item.on ? "into" : "out of"} ${item.segment}`;
  return item.name || item.kind;
}

function live(item) {
  const li = element("li");
  const time = element("time", "", clock(item.at));
  li.append(time, element("span", "what", told(item)), element("span", "who", item.who || item.profile_id || ""));
  const list = byId("live");
  list.prepend(li);
  while (list.children.length > LIVE_ROWS) list.lastChild.remove();
  byId("no-live").hidden = true;
}

function listen() {
  const source = new EventSource("/api/live");
  const state = byId("status");
  source.onopen = () => { state.textContent = "live"; state.className = "status on"; };
  source.onerror = () => { state.textContent = "connection lost, trying again"; state.className = "status off"; };
  source.onmessage = (event) => live(JSON.parse(event.data));
}

byId("find").addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = byId("answer"), person = byId("person").value.trim();
  if (!person) return;
  answer.hidden = false;
  try {
    const why = await api(`profiles/${encodeURIComponent(person)}/why?journey=${encodeURIComponent(byId("journey").value)}`);
    answer.replaceChildren(element("strong", "", why.profile_id), element("p", "", why.sentence));
  } catch (error) {
    answer.replaceChildren(element("p", "no", error.message));
  }
});

fetch("/inbox/messages").then((response) => { byId("inbox").hidden = !response.ok; }).catch(() => {});
listen();
refresh();
