// Draws the plots with uPlot, in the colours of the page's theme.
import { milliseconds, place } from "./page.js";

const { uPlot } = window;
const HEIGHT = 200;
const bars = uPlot.paths.bars({ size: [0.7, 24] });
const plots = new Map();

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`);
const axis = (more) => ({
  size: 28,
  stroke: () => colour("soft"),
  grid: { stroke: () => colour("line"), width: 1 },
  ticks: { show: false },
  font: "12px system-ui, sans-serif",
  ...more,
});
// On a logarithmic scale, only powers of ten are labelled.
const powers = (_, values) => values.map((one) => (Number.isInteger(Math.log10(one)) ? one : null));
const series = (label, name, more) => ({ label, stroke: () => colour(name), points: { show: false }, ...more });
/** Labels times with day, hours and seconds only where they matter. */
function times(plot, values, _, __, step) {
  const isLong = plot.scales.x.max - plot.scales.x.min > 86_400;
  const [begin, end] = [isLong ? 5 : 11, step >= 86_400 ? 10 : step < 60 ? 19 : 16];
  return values.map((one) => new Date(one * 1000).toISOString().replace("T", " ").slice(begin, end));
}
const clock = (_, value) => (value === null ? "–" : `${new Date(value * 1000).toISOString().slice(0, 19).replace("T", " ")} UTC`);

function draw(id, options, data) {
  const home = place(id);
  const known = plots.get(id);
  if (known) return known.setData(data);
  const size = () => ({ width: home.clientWidth, height: HEIGHT });
  const plot = new uPlot({
    ...size(),
    tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
    padding: [12, 28, 0, 0],
    cursor: { y: false, drag: { setScale: false } },
    ...options,
  }, data, home);
  plots.set(id, plot);
  new ResizeObserver(() => plot.setSize(size())).observe(home);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plot.redraw());
}

function words(recent) {
  const late = recent.filter((one) => one.lateMs !== null).map((one) => one.lateMs).sort((a, b) => a - b);
  if (late.length === 0) return "No epoch has ended yet.";
  const missed = recent.filter((one) => one.status === "MISSED").length;
  const middle = milliseconds(late[Math.floor(late.length / 2)]);
  return `Time from an epoch's start to its publication. Median ${middle}, longest ${milliseconds(late.at(-1))}; `
    + `${missed || "none"} of ${recent.length} missed.`;
}

const power = (most) => 10 ** Math.ceil(Math.log10(Math.max(1000, most ?? 0)));

/** Returns the range of the times, in seconds, with room for half a bar on both sides. */
function around(at) {
  const [from, to] = [at[0], at.at(-1)];
  const half = at.length > 1 ? (to - from) / (at.length - 1) / 2 : 30;
  return [from - half, to + half];
}

/** Draws a bar per epoch, on a logarithmic scale, and a red one over the whole height for a missed epoch. */
export function drawLateness(recent) {
  place("lateness-text").textContent = words(recent);
  place("lateness").hidden = recent.length === 0;
  if (recent.length === 0) return;
  const old = recent.toReversed();
  const top = power(Math.max(...recent.map((one) => one.lateMs ?? 0)));
  const at = old.map((one) => Date.parse(one.epochId.replace(/-(\d\d)-(\d\d)$/, ":$1:$2") + "Z") / 1000);
  const late = old.map((one) => (one.lateMs === null ? null : Math.max(1, one.lateMs)));
  const missed = old.map((one) => (one.status === "MISSED" ? top : null));
  draw("lateness", {
    scales: { x: { range: (plot) => around(plot.data[0]) }, y: { distr: 3, range: (_, __, most) => [0.5, power(most)] } },
    axes: [axis({ values: times, space: 90 }), axis({ size: 66, filter: powers, grid: { stroke: () => colour("line"), width: 1, filter: powers },
      values: (_, values) => values.map((one) => (one === null ? "" : one < 1000 ? `${one} ms` : `${one / 1000} s`)) })],
    series: [{ label: "epoch", value: clock },
      series("late by", "accent", { paths: bars, fill: () => colour("accent"), value: (_, one) => milliseconds(one) ?? "–" }),
      series("missed", "bad", { paths: bars, fill: () => colour("bad"), value: (_, one) => (one === null ? "no" : "yes") })],
  }, [at, late, missed]);
}

/** Draws the numbers of requests per minute. */
export function drawRequests(samples, secondsPerSample) {
  const perMinute = (counts) => counts.map((one) => one * 60 / secondsPerSample);
  const { at, answered, refused, failed } = samples;
  const last = at.at(-1) ?? Date.now() / 1000;
  draw("requests-plot", {
    scales: {
      x: { range: (_, from, to) => [Math.min(from ?? last, (to ?? last) - 600), to ?? last] },
      y: { range: (_, __, most) => [0, Math.max(10, most * 1.1)] },
    },
    axes: [axis({ values: times, space: 90 }), axis({ size: 56 })],
    series: [{ label: "time", value: clock },
      series("answered", "accent", { width: 2, fill: () => colour("fill") }),
      series("refused", "odd", { width: 2 }), series("failed", "bad", { width: 2 })],
  }, [at, perMinute(answered), perMinute(refused), perMinute(failed)]);
}
