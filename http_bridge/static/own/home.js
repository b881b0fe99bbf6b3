// The public page: shows page.json, which it fetches every ten seconds.
import { definitions, element, follow, link, place, showEpoch, showRecent, showStatus } from "./page.js";
import { drawLateness } from "./plots.js";

const STATES = { ok: "works", degraded: "works, with faults", unhealthy: "cannot serve epochs" };
let description = null;

function showCommand() {
  const { http, signers, network, netuid } = description;
  place("command").textContent = [`zipcast epoch verify ${place("choice").value}`, `--http ${http ?? location.origin}`,
    `--signers ${signers.join(",")}`, `--network ${network} --netuid ${netuid}`].join(" \\\n  ");
}

function showChoice(recent) {
  const choice = place("choice");
  const ids = recent.filter((one) => one.status !== "MISSED").slice(0, 50).map((one) => one.epochId);
  const chosen = choice.dataset.chosen;
  choice.replaceChildren(...ids.map((id) => element("option", id)));
  if (chosen && ids.includes(chosen)) choice.value = chosen;
  for (const one of [place("row"), place("command")]) one.hidden = ids.length === 0;
  showCommand();
}

function show(told) {
  description = told.description;
  if (description.documentation && !place("documentation")) {
    const documentation = link("Documentation", description.documentation);
    documentation.id = "documentation";
    place("links").prepend(documentation);
  }
  showStatus(told.status, STATES);
  showEpoch(told);
  showRecent(told.recent);
  drawLateness(told.recent);
  showChoice(told.recent);
  place("services").replaceChildren(...Object.entries(told.services).map(([name, state]) => {
    const chip = element("li", `${name.replaceAll("_", " ")}: ${state}`);
    chip.className = state;
    return chip;
  }));
  definitions("description", {
    network: `${description.network}, netuid ${description.netuid}`,
    signers: description.signers.join(" "),
    NATS: description.servers.join(" ") || null,
    HTTP: description.http ?? location.origin,
  });
}

place("choice").addEventListener("change", (event) => {
  event.target.dataset.chosen = event.target.value;
  showCommand();
});
place("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText(place("command").textContent);
  place("copy").textContent = "Copied";
});
follow("/page.json", 10_000, show);
