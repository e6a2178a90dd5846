"use strict";
// The demo's inbox: what arrived over SMTP, and how long after its reason.
const byId = (id) => document.getElementById(id);
const TABS = ["html", "text", "headers", "source"], REFRESH_MS = 1000;
let current = null, shown = "";

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

const took = (ms) => (ms === null ? "" : ms < 10000 ? `${ms} ms` : `${(ms / 1000).toFixed(1)} s`);

function item(message) {
  const li = element("li"), button = element("button");
  button.dataset.id = message.id;
  button.setAttribute("aria-current", message.id === current);
  const line = element("span", "line");
  line.append(element("span", "to", message.to), element("span", "", new Date(message.at).toLocaleTimeString([], { hour12: false })), element("span", "took", took(message.elapsed_ms)));
  button.append(element("span", "subject", message.subject), line);
  button.addEventListener("click", () => open(message.id));
  li.append(button);
  return li;
}

async function open(id) {
  current = id;
  for (const button of document.querySelectorAll("#list button")) button.setAttribute("aria-current", button.dataset.id === id);
  const response = await fetch("/inbox/messages/" + id);
  if (!response.ok) return;
  const mail = await response.json();
  byId("empty").hidden = true;
  byId("open").hidden = false;
  byId("subject").textContent = mail.subject;
  const from = mail.origin ? `${mail.origin}, template ${mail.template} · ` : "";
  byId("meta").textContent = from + (mail.elapsed_ms === null ? "not one of ours" : `${took(mail.elapsed_ms)} after its reason`);
  byId("html").src = `/inbox/messages/${id}/html`;
  byId("text").textContent = mail.text;
  byId("source").textContent = mail.source;
  byId("headers").replaceChildren(...mail.headers.map(([name, value]) => {
    const row = element("tr");
    row.append(element("th", "", name), element("td", "", value));
    return row;
  }));
}

function tab(name) {
  for (const other of TABS) byId(other).hidden = other !== name;
  for (const button of document.querySelectorAll("[role=tab]")) button.setAttribute("aria-selected", button.dataset.tab === name);
}

async function refresh() {
  try {
    const { messages, total } = await (await fetch("/inbox/messages")).json();
    const key = messages.map((m) => m.id).join();
    if (key !== shown) {
      shown = key;
      byId("list").replaceChildren(...messages.map(item));
      byId("total").textContent = total === 1 ? "1 message" : `${total} messages`;
      if (current === null && messages.length) open(messages[0].id);
    }
  } catch { byId("total").textContent = "connection lost, trying again"; }
  setTimeout(refresh, REFRESH_MS);
}

for (const button of document.querySelectorAll("[role=tab]")) button.addEventListener("click", () => tab(button.dataset.tab));
refresh();
