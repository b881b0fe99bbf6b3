// The operator's page: shows ops.json, which it fetches every two seconds.
import { definitions, element, follow, link, place, showEpoch, showRecent, showStatus, table } from "./page.js";
import { drawLateness, drawRequests } from "./plots.js";

const SECONDS_PER_SAMPLE = 10;
const UP = "ok";

const minutes = (seconds) => (seconds < 120 ? `${Math.floor(seconds)} s` : seconds < 7200
  ? `${Math.floor(seconds / 60)} min` : `${Math.floor(seconds / 3600)} h`);

function showLinks({ public: shown, dashboard }) {
  place("links").replaceChildren(
    ...(shown ? [link("Public page", `${shown}/`), link("API", `${shown}/docs`)] : []),
    ...(dashboard ? [link("NATS dashboard", dashboard)] : []),
    link("Metrics", "/metrics"));
}

function showNow(told) {
  const last = told.samples.answered.length - 1;
  const rate = last < 0 ? null : (told.samples.answered[last] + told.samples.refused[last] + told.samples.failed[last])
    * 60 / SECONDS_PER_SAMPLE;
  const facts = {
    "subscribers on NATS": told.subscribers,
    "streams over HTTP": told.streams,
    "requests per minute": rate,
    "neurons in the registry": told.neurons,
    "age of the registry": told.registryAgeSeconds === null ? null : minutes(told.registryAgeSeconds),
    "uptime of this bridge": minutes(told.uptime),
  };
  place("now").replaceChildren(
    ...Object.entries(facts).map(([name, value]) => element("div", name, element("b", String(value ?? "–")))));
}

function showProcesses(processes, now) {
  if (processes.length === 0) {
    return place("processes").replaceChildren(element("caption", "Unknown without nats-server's monitoring address."));
  }
  table("processes", ["process", "on nats-server", "replicas", "oldest for"], processes.map((one) => [
    one.name, one.replicas ? UP : "not connected", one.replicas,
    one.connectedSince && minutes((Date.parse(now) - Date.parse(one.connectedSince)) / 1000)]));
}

function show(told) {
  showStatus(told.status, {});
  showLinks(told);
  showEpoch(told);
  showNow(told);
  drawLateness(told.recent);
  drawRequests(told.samples, SECONDS_PER_SAMPLE);
  showProcesses(told.processes, told.now);
  showRecent(told.recent);
  table("services", ["part", "state", "ms", "last error or note"],
    Object.entries(told.services).map(([name, one]) => [name, one.status, one.latencyMs, one.lastError ?? one.note]));
  table("requests", ["result", "number"], Object.entries(told.requests));
  definitions("nats", told.nats ?? { "nats-server": "not configured (NATS_MONITOR_URL)" });
}

follow("/ops.json", 2000, show);
