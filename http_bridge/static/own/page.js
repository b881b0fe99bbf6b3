// The code that `/` and `/ops` share: elements, the countdown, and fetching data repeatedly.
const MOST_AHEAD_MS = 5000; // data may be this old, so a smaller difference says nothing about this clock

let epoch = null;
let ahead = 0;

export const place = (id) => document.getElementById(id);

export function element(name, text, ...children) {
  const made = document.createElement(name);
  made.textContent = text;
  made.append(...children);
  return made;
}

export function link(text, address) {
  const made = element("a", text);
  made.href = address;
  return made;
}

const isNumber = (cell) => typeof cell === "number" || /^[0-9.]+ (ms|s|min|h)$/.test(cell);

/** Fills a table. A cell that is a state gets its colour, and numbers are aligned. */
export function table(id, heads, rows) {
  const numbers = heads.map((_, column) => rows.some((cells) => isNumber(cells[column])));
  const row = (kind, cells) => element("tr", "", ...cells.map((one, column) => {
    const cell = element(kind, String(one ?? "–"));
    if (["ok", "degraded", "unhealthy"].includes(one)) cell.className = one;
    else if (numbers[column]) cell.className = "number";
    return cell;
  }));
  place(id).replaceChildren(row("th", heads), ...rows.map((cells) => row("td", cells)));
}

export function definitions(id, told) {
  place(id).replaceChildren(
    ...Object.entries(told).map(([name, value]) => element("div", "", element("dt", name), element("dd", String(value ?? "–")))));
}

export function milliseconds(late) {
  if (late === null) return null;
  if (late < 1000) return `${late} ms`;
  return late < 600_000 ? `${(late / 1000).toFixed(1)} s` : `${Math.round(late / 60_000)} min`;
}

export function showRecent(recent) {
  table("recent", ["epoch", "state", "late by", "beacon"], recent.slice(0, 10).map((one) =>
    [one.epochId, one.status.toLowerCase(), milliseconds(one.lateMs), one.beacon]));
}

const pad = (value) => String(value).padStart(2, "0");

function countdown() {
  if (epoch === null) return;
  const [start, end] = [Date.parse(epoch.startsAt), Date.parse(epoch.endsAt)];
  const now = Date.now() + ahead;
  const left = Math.max(0, Math.ceil((end - now) / 1000));
  place("countdown").textContent = `${Math.floor(left / 3600)}:${pad(Math.floor(left / 60) % 60)}:${pad(left % 60)}`;
  place("progress").value = Math.min(1, Math.max(0, (now - start) / (end - start)));
}

export function showEpoch(told) {
  const difference = Date.parse(told.now) - Date.now();
  ahead = Math.abs(difference) > MOST_AHEAD_MS ? difference : 0;
  epoch = told.epoch;
  place("progress").hidden = epoch === null;
  place("epoch").textContent = epoch ? epoch.epochId : "none";
  place("size").textContent = epoch
    ? `${epoch.zipcodes} zipcodes with ${epoch.listings.toLocaleString("en")} listings` : "No epoch is running.";
  place("starts").textContent = epoch ? `at ${epoch.endsAt.replace("T", " ").replace(/(\.\d+)?Z$/, "")} UTC` : "";
  if (epoch === null) place("countdown").textContent = "–";
  countdown();
}

export function showStatus(status, texts) {
  place("status").textContent = texts[status] ?? status;
  place("status").className = `pill ${status}`;
}

/** Fetches the data, and again after `everyMs`, or sooner if the epoch ends; not while the page is hidden. */
export function follow(address, everyMs, show) {
  let timer = null;
  async function refresh() {
    clearTimeout(timer);
    try {
      const reply = await fetch(address);
      if (!reply.ok) throw new Error(String(reply.status));
      show(await reply.json());
      place("fault").hidden = true;
    } catch (error) {
      console.warn("cannot refresh", error);
      place("fault").textContent = "The service does not respond. The data on this page is old.";
      place("fault").hidden = false;
    }
    const toEnd = epoch === null ? everyMs : Date.parse(epoch.endsAt) - Date.now() - ahead + 1500;
    timer = setTimeout(refresh, Math.max(1500, Math.min(everyMs, toEnd)));
  }
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : refresh()));
  setInterval(countdown, 250);
  refresh();
}
