// The page of the web view: tiles of cameras, decisions, events. No library, no build step.
import { becomeCamera } from "/static/camera.js";
import { attentionOf } from "/static/attention.js";
import { replayOf, stopReplay } from "/static/replay.js";

const $ = (id) => document.getElementById(id);
const percent = (share) => `${(100 * share).toFixed(0)}\u00a0%`;
const STREAMS = 4; // browsers keep six connections per server; the rest of the tiles asks for pictures
const STATES = new Set(["live", "ended"]);
const AGAIN_MS = 5000; // pause before a refused connection is tried again
const LISTED = 500; // events in the list while nobody scrolls back
const tiles = new Map();
const gone = new Set(); // cameras that were removed; their last messages may arrive late
let facts = {};

async function json(path) {
  const answer = await fetch(path);
  if (answer.status === 401) location.replace("/login");
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

// Tiles ------------------------------------------------------------------------------------------

class Tile {
  constructor(camera) {
    this.camera = camera;
    this.root = $("tile").content.firstElementChild.cloneNode(true);
    this.image = this.root.querySelector("img");
    this.image.alt = `Picture of ${camera}`;
    this.root.querySelector(".name").textContent = camera;
    this.visible = false;
    this.onScreen = false;
    this.streams = false;
    this.polls = false;
    if (facts.attention) attentionOf(this, json);
    $("cameras").append(this.root);
    $("empty").hidden = true;
    new IntersectionObserver((entries) => {
      this.onScreen = entries.at(-1).isIntersecting;
      this.show();
    }).observe(this.root);
  }

  path(what) {
    return `/cameras/${encodeURIComponent(this.camera)}/${what}`;
  }

  show() {
    this.visible = this.onScreen && !document.hidden && tiles.get(this.camera) === this;
    const others = [...tiles.values()].filter((tile) => tile !== this && tile.streams).length;
    if (this.visible && !this.streams && others < STREAMS) {
      this.streams = true;
      this.image.src = this.path("stream");
    } else if (!this.visible && this.streams) {
      this.streams = false;
      this.image.removeAttribute("src"); // ends the connection, so nothing is encoded
    } else if (this.visible && !this.streams && !this.polls) {
      this.poll();
    }
  }

  poll() {
    this.polls = this.visible && !this.streams;
    if (!this.polls) return;
    const next = new Image();
    next.onload = () => {
      if (!this.streams) this.image.src = next.src;
      setTimeout(() => this.poll(), 250);
    };
    next.onerror = () => setTimeout(() => this.poll(), 2000);
    next.src = `${this.path("snapshot.jpg")}?${performance.now()}`;
  }

  decide(record) {
    const action = this.root.querySelector(".action");
    action.textContent = `${record.label} ${percent(record.p)}`;
    action.classList.toggle("none", record.label_id < 0);
    this.root.dataset.time = record.time_s;
    const bars = record.top.slice(0, 4).map(([label, share]) => bar(label, share));
    this.root.querySelector(".bars").replaceChildren(...bars);
  }

  status(stats, stages) {
    const state = this.root.querySelector(".state");
    state.textContent = stats.state;
    state.classList.toggle("bad", !STATES.has(stats.state));
    const drops = Object.entries(stats.drops).filter(([, count]) => count)
      .map(([cause, count]) => `${count} ${cause}`).join(", ");
    const latency = stats.latency_ms.p95 ? `, latency p95 ${stats.latency_ms.p95.toFixed(0)} ms` : "";
    const slow = Object.entries(stages).filter(([, ms]) => ms.p50 !== undefined)
      .map(([stage, ms]) => `${stage} ${ms.p50.toFixed(0)}`).join(", ");
    this.root.querySelector(".figures").textContent =
      `${stats.fps.toFixed(0)} fps${latency}${slow ? ` (ms by stage: ${slow})` : ""}. ` +
      `Dropped: ${drops || "nothing"}.`;
    // A connection that broke when the camera went is opened again when it is back.
    if (stats.state === "live" && this.streams && this.broken) {
      this.broken = false;
      this.image.src = `${this.path("stream")}?${performance.now()}`;
    }
  }
}

function bar(label, share) {
  const item = document.createElement("li");
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  rect.setAttribute("width", `${100 * share}%`);
  rect.setAttribute("height", "100%");
  svg.setAttribute("aria-hidden", "true");
  svg.append(rect);
  const name = document.createElement("span");
  name.textContent = label;
  const value = document.createElement("span");
  value.textContent = percent(share);
  item.append(svg, name, value);
  return item;
}

function tileOf(camera) {
  if (!tiles.has(camera)) {
    const tile = new Tile(camera);
    tile.image.onerror = () => { tile.broken = true; };
    tiles.set(camera, tile);
    $("filter-camera").append(new Option(camera, camera));
  }
  return tiles.get(camera);
}

function follow(cameras) {
  const names = new Set(cameras.map((stats) => stats.camera));
  for (const camera of names) gone.delete(camera);
  for (const [camera, tile] of tiles) {
    if (names.has(camera)) continue;
    tiles.delete(camera);
    tile.show(); // ends its connection
    tile.stopAttention?.();
    tile.root.remove();
    gone.add(camera);
    [...$("filter-camera").options].find((option) => option.value === camera)?.remove();
  }
  // The order of the run, whichever camera was heard first.
  const roots = cameras.map((stats) => tiles.get(stats.camera).root);
  if (roots.some((root, k) => $("cameras").children[k] !== root)) $("cameras").append(...roots);
  $("empty").hidden = tiles.size > 0;
}

// Messages ---------------------------------------------------------------------------------------

const LEVELS = ["full service", "every second decision", "still scenes are skipped",
  "cameras take turns", "whole windows only"];

function take(record) {
  if (record.kind === "decision" && !gone.has(record.camera)) tileOf(record.camera).decide(record);
  if (record.kind === "event") showEvent(record);
  if (record.kind === "notice" && record.camera && !gone.has(record.camera)) {
    tileOf(record.camera).root.querySelector(".state").title = record.text;
  }
  if (record.kind === "stats") {
    for (const stats of record.cameras) tileOf(stats.camera).status(stats, record.stages_ms);
    follow(record.cameras);
    const service = record.level ? `SLOW: ${LEVELS[record.level]}` : LEVELS[0];
    $("facts").textContent = `${(facts.engine ?? "").split(" (")[0]} · ${service} · ` +
      `engine busy ${percent(record.busy)}`;
    $("facts").title = facts.engine ?? "";
  }
}

function connect(again) {
  const messages = new EventSource("/messages");
  const state = $("connection");
  messages.onopen = () => {
    state.textContent = "connected";
    state.classList.remove("bad");
    if (again) loadEvents(false); // those of the time between
    again = true;
  };
  messages.onerror = () => {
    state.textContent = "no connection";
    state.classList.add("bad");
    // A browser does not come back to a server that refused; /facts leads to the login if need be.
    if (messages.readyState !== EventSource.CLOSED) return;
    json("/facts").catch(() => undefined)
      .finally(() => setTimeout(connect, AGAIN_MS, true));
  };
  messages.onmessage = (message) => take(JSON.parse(message.data));
}

// Events -----------------------------------------------------------------------------------------

const seconds = (record) => Date.parse(record.ts) / 1000;

function showEvent(record) {
  if (loading) arrived.push(record);
  const wanted = [$("filter-camera").value, $("filter-label").value];
  if (wanted[0] && wanted[0] !== record.camera) return;
  if (wanted[1] && wanted[1] !== record.label) return;
  const known = [...$("events").children].find((item) => item.record.key === record.key);
  const item = eventItem(record);
  const list = $("events");
  const focused = known?.contains(document.activeElement);
  if (known) known.replaceWith(item);
  else list.prepend(item);
  if (focused) item.firstElementChild.focus();
  // A page may stay open for weeks.
  if (list.children.length > LISTED && list.scrollTop < 100) {
    list.lastElementChild.remove();
    $("older").hidden = !facts.keep_s;
  }
}

function eventItem(record) {
  const item = document.createElement("li");
  item.record = record;
  const button = document.createElement("button");
  button.type = "button";
  const title = document.createElement("strong");
  title.textContent = record.label;
  const when = document.createElement("span");
  when.className = "when";
  const length = record.phase === "end" ? `${record.duration_s.toFixed(1)} s` : "now";
  when.textContent = `${record.camera} · ${new Date(record.ts).toLocaleTimeString()} · ` +
    `${length} · ${percent(record.p)}`;
  button.append(title, when);
  button.addEventListener("click", () => openEvent(record));
  item.append(button);
  return item;
}

async function openEvent(record) {
  let event = record;
  if (facts.keep_s && record.id === undefined) {
    const query = new URLSearchParams({ camera: record.camera, label: record.label });
    if (record.phase === "end") query.set("before", seconds(record) + 0.001);
    const stored = await json(`/events?${query}`).catch(() => []);
    event = stored.find((other) => other.key === record.key) ?? record;
  }
  if (event.id !== undefined) event = await json(`/events/${event.id}`).catch(() => event);
  $("event-title").textContent = event.label;
  $("event-facts").textContent = `${event.camera}, ${new Date(event.ts).toLocaleString()}. ` +
    `Began about ${event.onset_s.toFixed(1)} s, detected ${event.detected_s.toFixed(1)} s, ` +
    `lasted ${event.duration_s.toFixed(1)} s; highest probability ${percent(event.p)}.` +
    (event.pictures ? "" : " Pictures are kept with --keep, once the event has ended.");
  const figures = (event.pictures ?? []).map(({ number, time_s }) => {
    const figure = document.createElement("figure");
    const image = new Image();
    image.src = `/events/${event.id}/${number}.jpg`;
    image.alt = `Picture at ${time_s.toFixed(1)} s`;
    const caption = document.createElement("figcaption");
    caption.textContent = `${time_s.toFixed(1)} s`;
    figure.append(image, caption);
    return figure;
  });
  $("event-pictures").replaceChildren(...figures);
  $("event-curve").replaceChildren(curve(event.curve ?? []));
  replayOf(event, $("event-replay"), $("event-curve"));
  $("event").showModal();
}

function curve(points) {
  if (points.length < 2) return document.createTextNode("Not kept.");
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "curve");
  svg.setAttribute("viewBox", "0 0 100 100");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `Probability from ${percent(points[0][1])} to ` +
    `${percent(points.at(-1)[1])}, highest ${percent(Math.max(...points.map((point) => point[1])))}`);
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  const [first, last] = [points[0][0], points.at(-1)[0]];
  line.setAttribute("points", points.map(([time, share]) =>
    `${(100 * (time - first)) / Math.max(last - first, 1e-9)},${100 - 100 * share}`).join(" "));
  svg.append(line);
  return svg;
}

let loading = false;
let requests = 0; // only the answer to the last one is shown
const arrived = []; // events that came while older ones were on their way: the answer lacks them

async function loadEvents(older) {
  if (older && loading) return;
  loading = true;
  const mine = ++requests;
  const query = new URLSearchParams({ camera: $("filter-camera").value, label: $("filter-label").value });
  const list = $("events");
  // Times of the page are whole milliseconds: one more, so that none is missed.
  if (older && list.lastElementChild) {
    query.set("before", seconds(list.lastElementChild.record) + 0.001);
  }
  try {
    const records = await json(`/events?${query}`);
    if (mine !== requests) return;
    if (!older) list.replaceChildren();
    const known = new Set([...list.children].map((item) => item.record.key));
    list.append(...records.filter((record) => !known.has(record.key)).map(eventItem));
    $("older").hidden = !facts.keep_s || records.length < 100;
  } finally {
    if (mine === requests) {
      loading = false;
      for (const record of arrived.splice(0)) showEvent(record);
    }
  }
}

// Start ------------------------------------------------------------------------------------------

$("theme").addEventListener("click", () => {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const present = document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
  document.documentElement.dataset.theme = present === "dark" ? "light" : "dark";
});
$("filter").addEventListener("change", () => loadEvents(false));
$("older").addEventListener("click", () => loadEvents(true));
$("events").addEventListener("scroll", () => {
  const list = $("events");
  const below = list.scrollHeight - list.scrollTop - list.clientHeight;
  if (below < 200 && !$("older").hidden) loadEvents(true);
});
$("event").addEventListener("close", stopReplay);
document.addEventListener("visibilitychange", () => {
  for (const tile of tiles.values()) tile.show();
});

facts = await json("/facts");
for (const label of facts.labels ?? []) $("filter-label").append(new Option(label, label));
const minutes = Math.max(1, Math.round(facts.keep_s / 60));
const lasting = minutes < 120
  ? `${minutes} minute${minutes === 1 ? "" : "s"}` : `${Number((minutes / 60).toFixed(1))} hours`;
$("keep").textContent = facts.keep_s
  ? `Events and small pictures of the last ${lasting} are kept on disk.` +
    (facts.store_trouble && ` At present none is stored: ${facts.store_trouble}.`)
  : "Events since the start; no pictures are kept (see --keep).";
if (facts.browser_cameras) {
  $("be-camera").hidden = false;
  $("be-camera").addEventListener("click", () => becomeCamera($("be-camera")));
}
connect();
loadEvents(false);
