"use strict";
// Fills in pictures and captions when they come near the window, and searches the samples of this page.
// Texts of samples only ever go into textContent: whatever they hold, they are shown and never read as HTML.

const report = JSON.parse(document.getElementById("report").textContent);
const samples = report.samples;
const AT_ONCE = 12; // of a stage's samples on either side
const PER_PAGE = 60; // of what a search finds

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

const words = (name) => String(name).replaceAll("_", " ");
const written = (value) => (value === null ? "–" : Number(value.toPrecision(4)).toString());

function fateOf(id) {
  const stage = samples.stage[id];
  if (stage === null) {
    const times = samples.weight[id] > 1 ? ` × ${samples.weight[id]}` : "";
    return { kind: "kept", text: `kept${times}` };
  }
  return { kind: samples.aside[id] ? "aside" : "dropped", text: `${stage}: ${words(samples.reason[id])}` };
}

function frame(id) {
  const box = make("div", "frame");
  if (samples.image[id]) {
    const picture = make("img");
    picture.alt = "";
    picture.decoding = "async";
    picture.src = "data:image/webp;base64," + samples.image[id];
    box.append(picture);
  } else {
    box.textContent = samples.aside[id] ? "can't be read" : "no picture here";
  }
  return box;
}

function setCaption(element, id) {
  const caption = samples.caption[id];
  const text = caption === null ? "no caption" : caption || "empty caption";
  element.textContent = text;
  element.dir = "auto";
  element.classList.toggle("none", !caption);
  return text;
}

function card(id, ids, plain) {
  const item = make("li");
  const button = make("button", "card");
  button.type = "button";
  button.append(frame(id));
  const caption = make("div", "caption");
  const text = setCaption(caption, id);
  const fate = fateOf(id);
  if (plain) {
    button.setAttribute("aria-label", `${text.slice(0, 120)}; ${fate.text}`);
  } else {
    button.append(caption);
    report.scores.forEach((name, n) => {
      const value = samples.scores[n][id];
      if (value !== null && n < 3) button.append(make("span", "meta", `${words(name)} ${written(value)}`));
    });
    const last = make("span", "meta");
    last.append(make("span", fate.kind, fate.text));
    button.append(last);
  }
  button.addEventListener("click", () => open(id, ids));
  item.append(button);
  return item;
}

function addMore(list, n, rest) {
  const more = make("button", "more", `show ${n} more`);
  more.type = "button";
  more.addEventListener("click", () => {
    const first = list.children.length;
    list.append(...rest());
    list.children[first].querySelector("button").focus();
    more.remove();
  });
  list.after(more);
}

function fill(list, ids, plain) {
  const made = (some) => some.map((id) => card(id, ids, plain));
  list.replaceChildren(...made(ids.slice(0, AT_ONCE)));
  list.parentElement.querySelector(":scope > .more")?.remove();
  if (ids.length > AT_ONCE) addMore(list, ids.length - AT_ONCE, () => made(ids.slice(AT_ONCE)));
  if (!ids.length) list.replaceChildren(make("li", "quiet", "none"));
}

// Stages

function idsOf(stage, side, reason) {
  const panel = report.panels[stage] ?? {};
  if (side === "kept") return panel.kept ?? [];
  const reasons = reason ? [reason] : Object.keys(panel).filter((name) => name !== "kept");
  const lists = reasons.map((name) => panel[name] ?? []);
  const mixed = []; // the nearest of each reason, then the next of each
  for (let n = 0; lists.some((list) => n < list.length); n++) {
    for (const list of lists) if (n < list.length) mixed.push(list[n]);
  }
  return mixed;
}

function fillGrid(list) {
  const chip = list.parentElement.querySelector('.chip[aria-pressed="true"]');
  fill(list, idsOf(list.dataset.stage, list.dataset.side, chip?.dataset.reason));
}

for (const chips of document.querySelectorAll("[data-chips]")) {
  chips.addEventListener("click", (event) => {
    const chip = event.target.closest(".chip");
    if (!chip) return;
    const pressed = chip.getAttribute("aria-pressed") !== "true";
    for (const other of chips.children) other.setAttribute("aria-pressed", "false");
    chip.setAttribute("aria-pressed", String(pressed));
    fillGrid(chips.parentElement.querySelector(".grid"));
  });
}

function group([size, survivor, copies]) {
  const item = make("li");
  const ids = survivor === null ? copies : [survivor, ...copies];
  const grid = make("ul", "grid");
  grid.append(...ids.map((id) => card(id, ids)));
  if (survivor !== null) grid.firstChild.classList.add("first");
  item.append(grid);
  const hidden = size - 1 - copies.length;
  if (hidden > 0) item.append(make("p", "quiet", `and ${hidden.toLocaleString("en")} more`));
  return item;
}

function fillGroups(list) {
  const groups = report.groups[list.dataset.groups];
  list.append(...groups.slice(0, AT_ONCE).map(group));
  if (groups.length > AT_ONCE) {
    addMore(list, groups.length - AT_ONCE, () => groups.slice(AT_ONCE).map(group));
  }
}

// Clusters

function fillTile(tile) {
  const ids = report.clusters[tile.parentElement.dataset.clusters][tile.dataset.cluster] ?? [];
  fill(tile.querySelector(".grid"), ids, true);
}

for (const select of document.querySelectorAll("[data-sort]")) {
  select.addEventListener("change", () => {
    const list = select.closest("section").querySelector(".tiles");
    const key = (tile) => Number(tile.dataset[select.value]);
    list.append(...[...list.children].sort((a, b) => key(b) - key(a) || a.dataset.cluster - b.dataset.cluster));
  });
}

// One sample, large

const dialog = document.getElementById("detail");
let shownId = null;
let shownIds = [];

function open(id, ids) {
  shownId = id;
  shownIds = ids;
  dialog.querySelector(".frame").replaceWith(frame(id));
  setCaption(document.getElementById("detail-caption"), id);
  const [width, height] = samples.size[id];
  const facts = [
    ["fate", fateOf(id).text],
    ...report.scores.map((name, n) => [words(name), written(samples.scores[n][id])]),
    ["cluster", samples.cluster[id] ?? "–"],
    ["size", width ? `${width} × ${height}` : "–"],
    ["caption", `${samples.length[id].toLocaleString("en")} characters`],
    ["uid", samples.uid[id]],
    ["shard, key", `${samples.shard[id]}, ${samples.key[id]}`],
  ];
  dialog.querySelector("dl").replaceChildren(...facts.flatMap(([name, value]) => [make("dt", "", name), make("dd", "", value)]));
  if (!dialog.open) dialog.showModal();
}

function step(by) {
  const place = shownIds.indexOf(shownId) + by;
  if (place >= 0 && place < shownIds.length) open(shownIds[place], shownIds);
}

dialog.addEventListener("click", (event) => {
  const { dataset } = event.target;
  if (dataset.step) step(Number(dataset.step));
  if ("close" in dataset || event.target === dialog) dialog.close();
});
dialog.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});

// Search

const form = document.getElementById("filters");
const results = document.getElementById("results");
const moreFound = document.getElementById("more");
const atRandom = new Set(report.random);
let found = [];

function asNumber(text) {
  const value = Number.parseFloat(String(text ?? "").replace(",", ".").replace("−", "-"));
  return Number.isFinite(value) ? value : null;
}

function matching() {
  const asked = new FormData(form);
  const text = (asked.get("text") ?? "").toLocaleLowerCase();
  const fate = asked.get("fate");
  const score = samples.scores[report.scores.indexOf(asked.get("score"))];
  const low = asNumber(asked.get("from"));
  const high = asNumber(asked.get("to"));
  const cluster = asNumber(asked.get("cluster"));
  const ids = [];
  for (let id = 0; id < samples.uid.length; id++) {
    if (asked.has("random") && !atRandom.has(id)) continue;
    if (fate === "kept" && samples.stage[id] !== null) continue;
    if (fate === "aside" && !samples.aside[id]) continue;
    if (fate && fate !== "kept" && fate !== "aside" && fate !== samples.stage[id] && fate !== `${samples.stage[id]}.${samples.reason[id]}`) continue;
    if (cluster !== null && samples.cluster[id] !== cluster) continue;
    if (score && (low !== null || high !== null)) {
      const value = score[id];
      if (value === null || (low !== null && value < low) || (high !== null && value > high)) continue;
    }
    if (text && !(samples.caption[id] ?? "").toLocaleLowerCase().includes(text) && !samples.key[id].includes(text) && samples.uid[id] !== text) continue;
    ids.push(id);
  }
  if (score) ids.sort((a, b) => (score[b] ?? -Infinity) - (score[a] ?? -Infinity) || a - b);
  return ids;
}

function showFound(from) {
  results.append(...found.slice(from, from + PER_PAGE).map((id) => card(id, found)));
  moreFound.hidden = results.children.length >= found.length;
}

function search() {
  found = matching();
  results.replaceChildren();
  showFound(0);
  document.getElementById("found").textContent = `${found.length.toLocaleString("en")} samples`;
}

let waiting = 0;
form.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(search, 120);
});
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(search));
moreFound.addEventListener("click", () => {
  const first = results.children.length;
  showFound(first);
  results.children[first]?.firstChild.focus();
});

// Links such as #find?stage=keep&reason=low_clip
function follow() {
  const [place, query] = location.hash.slice(1).split("?");
  if (place !== "find" || !query) return;
  form.reset();
  const asked = new URLSearchParams(query);
  if (asked.has("stage")) form.elements.fate.value = `${asked.get("stage")}.${asked.get("reason")}`;
  if (asked.has("cluster") && form.elements.cluster) form.elements.cluster.value = asked.get("cluster");
  if (asked.has("text")) form.elements.text.value = asked.get("text");
  setTimeout(search);
  document.getElementById("find").scrollIntoView();
}
addEventListener("hashchange", follow);

// What is far from the window waits
const fillers = [
  ["[data-stage]", fillGrid],
  ["[data-groups]", fillGroups],
  [".tiles > li", fillTile],
  ["#results", search],
];
const watcher = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      watcher.unobserve(target);
      fillers.find(([selector]) => target.matches(selector))[1](target);
    }
  },
  { rootMargin: "600px" }
);
for (const [selector] of fillers) for (const element of document.querySelectorAll(selector)) watcher.observe(element);
follow();
