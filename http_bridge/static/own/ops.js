// Shows ops.json, which it fetches every two seconds. In between, only the countdown changes.
"use strict";

const EVERY_MS = 2000;
let endsAt = null;
let ahead = 0;

const place = (id) => document.getElementById(id);

function element(name, text, ...children) {
  const made = document.createElement(name);
  made.textContent = text;
  made.append(...children);
  return made;
}

function facts(id, told) {
  place(id).replaceChildren(
    ...Object.entries(told).map(([name, value]) => element("div", name, element("b", String(value ?? "–")))));
}

function table(id, heads, rows) {
  const head = element("tr", "", ...heads.map((one) => element("th", one)));
  place(id).replaceChildren(head, ...rows.map((cells) => {
    return element("tr", "", ...cells.map((one) => {
      const cell = element("td", String(one ?? "–"));
      if (["ok", "degraded", "unhealthy"].includes(one)) cell.className = one;
      return cell;
    }));
  }));
}

function countdown() {
  const shown = place("countdown");
  if (!shown || endsAt === null) return;
  const left = Math.max(0, Math.ceil((endsAt - (Date.now() + ahead)) / 1000));
  const two = (value) => String(value).padStart(2, "0");
  shown.textContent = `${Math.floor(left / 3600)}:${two(Math.floor(left / 60) % 60)}:${two(left % 60)}`;
}

function showEpoch(epoch) {
  endsAt = epoch ? Date.parse(epoch.endsAt) : null;
  if (!epoch) return facts("epoch", { running: "none" });
  facts("epoch", { running: epoch.epochId, "time left": "", zipcodes: epoch.zipcodes, listings: epoch.listings });
  const clock = place("epoch").children[1].querySelector("b");
  clock.id = "countdown";
  clock.className = "big";
}

function show(told) {
  ahead = Date.parse(told.now) - Date.now();
  place("status").textContent = told.status;
  place("status").className = told.status;
  showEpoch(told.epoch);
  facts("now", {
    "subscribers on NATS": told.subscribers,
    "streams over HTTP": told.streams,
    "age of the registry, s": told.registryAgeSeconds,
    neurons: told.neurons,
  });
  table("services", ["part", "status", "ms", "last error or note"],
    Object.entries(told.services).map(([name, one]) => [name, one.status, one.latencyMs, one.lastError ?? one.note]));
  table("recent", ["epoch", "status", "late by, ms"], told.recent.map((one) => [one.epochId, one.status, one.lateMs]));
  table("requests", ["result", "number"], Object.entries(told.requests));
  facts("nats", told.nats ?? { "nats-server": "not configured (NATS_MONITOR_URL)" });
  if (told.dashboard) {
    const link = element("a", "Dashboard of nats-server");
    link.href = told.dashboard;
    place("dashboard").replaceChildren(link);
  }
  countdown();
}

async function refresh() {
  try {
    const reply = await fetch("ops.json");
    show(await reply.json());
    place("fault").textContent = "";
  } catch {
    place("fault").textContent = "This bridge does not respond. The data on this page is old.";
  }
  setTimeout(refresh, EVERY_MS);
}

setInterval(countdown, 250);
refresh();
