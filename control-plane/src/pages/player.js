// The player's page: plays a title through steering and shows who sends it, from the player's own events.
//
// Address: /player?title=ID&player=hls.js|dash.js|shaka|shaka-dash|video.js&buffer=SECONDS&steering=URL&autoplay=1, all optional.
//
// For end-to-end tests and the curious, `window.nightfill` is kept up to date (docs/formats/player-page.md):
//
//   player           "hls.js" | "dash.js" | "shaka", as chosen
//   title            id of the title, as chosen
//   playing          whether the picture moves: neither paused, nor waiting for data, nor ended
//   ended            whether the title has played to its end
//   position         seconds
//   duration         seconds, 0 until known
//   buffer           seconds buffered ahead of the position
//   rendition        { height, width, bandwidth, id } on screen, or null
//   appliance        id of the appliance that sent the last video segment ("origin", or the host if nobody knows it), or null
//   pathway          pathway or service location of that segment, as the manifest names it
//   bytesByAppliance { id: bytes of media segments }
//   segments         number of media segments so far
//   steering         [{ at, ttl, priority: [id], url }], oldest first
//   switches         [{ at, from, to, position, failover }] of video segments, oldest first
//   errors           [{ at, fatal, code, url, detail }], oldest first
//   stalls           times that the picture stopped for want of data after it had begun
//   droppedFrames    number
//   message          what the page tells the reader instead of playing, or null

import { h, s, icon, bar, show, command, listenForCopies } from "/assets/dom.js";
import { bytes, bits, count, percent, plural, clock, time } from "/assets/format.js";
import { ENGINES } from "/assets/engines.js";

const TICK_MS = 250;
const FLEET_MS = 5000;
const TIMELINE_SECONDS = 60;
/** Longest lists that are kept; older entries go. */
const KEPT = 500;
const LOG_SHOWN = 120;
const STEERING_SHOWN = 40;
/** A switch away from an appliance within this long of its error is called a failover. */
const FAILOVER_MS = 8000;
const COLOURS = 6;
const MIN_BUFFER = 2;
const MAX_BUFFER = 120;

const asked = new URLSearchParams(location.search);
const video = document.getElementById("video");
const form = document.getElementById("choose");
const fleet = { appliances: [], origin: null, steering: null, players: [], mend: null, titles: [] };

let engine = null;
/** Grows with every start: an engine that is slow to stop cannot write into its successor's facts. */
let run = 0;
let log = [];
let samples = [];
let lastError = { at: 0, from: null };
let waiting = false;

window.nightfill = fresh();

function fresh(player = null, title = null) {
  return {
    player, title, playing: false, ended: false, position: 0, duration: 0, buffer: 0, rendition: null, appliance: null,
    pathway: null, bytesByAppliance: {}, segments: 0, steering: [], switches: [], errors: [], stalls: 0, droppedFrames: 0,
    message: null,
  };
}

// ---- the fleet: who is behind an address ----

async function ask(path) {
  const answer = await fetch(path, { cache: "no-store" });
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}`);
  return answer.json();
}

async function learnFleet() {
  const [overview, origin] = await Promise.allSettled([ask("/v1/overview"), fleet.origin ? null : ask("/v1/origin")]);
  if (overview.status === "fulfilled") {
    fleet.appliances = overview.value.appliances;
    fleet.steering = asked.get("steering") ?? overview.value.steering_url ?? null;
  }
  if (origin.status === "fulfilled" && origin.value) fleet.origin = originOf(origin.value.url);
  return overview.status === "fulfilled";
}

function originOf(url) {
  try {
    return new URL(url, location.href).origin;
  } catch {
    return null;
  }
}

function applianceOf(url) {
  const origin = originOf(url);
  const found = fleet.appliances.find((a) => originOf(a.base_url) === origin);
  if (found) return found.id;
  return origin !== null && origin === fleet.origin ? "origin" : origin?.replace(/^https?:[/][/]/, "") ?? "unknown";
}

/** Each sender keeps its colour for as long as the page is open. */
const colours = new Map();
function colour(id) {
  if (!colours.has(id)) colours.set(id, `c${colours.size % COLOURS}`);
  return colours.get(id);
}

// ---- what the engine tells ----

function keep(list, entry) {
  list.push(entry);
  if (list.length > KEPT) list.shift();
}

function note(kind, text) {
  keep(log, { at: new Date(), kind, text, n: (log.at(-1)?.n ?? 0) + 1 });
  const list = log.slice(-LOG_SHOWN).reverse();
  show("log", list.map((entry) => h("li", { "data-key": entry.n }, h("time", {}, time(entry.at)),
    h("span", { class: `kind ${entry.kind}` }, icon(KINDS[entry.kind][1]), KINDS[entry.kind][0]), h("span", { class: "text" }, entry.text))));
}

const KINDS = {
  info: ["Info", "info"], start: ["Start", "play"], steering: ["Steering", "route"], switch: ["Switch", "switch"],
  failover: ["Failover", "switch"], rendition: ["Rendition", "info"], stall: ["Stall", "wait"], error: ["Error", "alert"], ended: ["Ended", "check"],
};

function listener(mine) {
  const only = (act) => (...args) => mine === run && act(window.nightfill, ...args);
  return { fragment: only(onFragment), steering: only(onSteering), rendition: only(onRendition), error: only(onError), note: only((_, text) => note("info", text)) };
}

function onFragment(facts, { url, bytes: size, kind, pathway }) {
  const id = applianceOf(url);
  colour(id);
  facts.bytesByAppliance[id] = (facts.bytesByAppliance[id] ?? 0) + size;
  facts.segments += 1;
  if (kind === "audio") return;
  const from = facts.appliance;
  facts.appliance = id;
  facts.pathway = pathway ?? id;
  if (from === id) return;
  if (from === null) return note("start", `${id} sends the first segment`);
  const failover = lastError.from === from && Date.now() - lastError.at < FAILOVER_MS;
  keep(facts.switches, { at: new Date().toISOString(), from, to: id, position: video.currentTime, failover });
  note(failover ? "failover" : "switch", `${from} → ${id} at ${clock(video.currentTime)}, ${facts.buffer.toFixed(1)} s in the buffer`);
}

function onSteering(facts, { ttl, priority, url }) {
  const before = facts.steering.at(-1);
  keep(facts.steering, { at: new Date().toISOString(), ttl, priority, url });
  if (before?.priority.join() !== priority.join()) note("steering", `${priority.join(", ")}; asks again in ${ttl} s`);
  drawSteering(facts);
}

function onRendition(facts, rendition) {
  const before = facts.rendition;
  facts.rendition = rendition;
  if (before?.height === rendition.height && before?.bandwidth === rendition.bandwidth) return;
  note("rendition", `${rendition.height}p at ${bits(rendition.bandwidth)}`);
}

function onError(facts, { fatal, code, url, detail }) {
  lastError = { at: Date.now(), from: url ? applianceOf(url) : null };
  keep(facts.errors, { at: new Date().toISOString(), fatal, code, url: url?.split("?")[0] ?? null, detail });
  const who = url ? ` from ${lastError.from}` : "";
  note("error", `${detail}${code ? `, status ${code}` : ""}${who}${fatal ? " (fatal)" : ""}`);
}

function onWait() {
  if (waiting) return;
  waiting = true;
  if (!engine || video.currentTime < 0.1 || video.seeking || video.ended) return;
  window.nightfill.stalls += 1;
  note("stall", `the picture waits at ${clock(video.currentTime)}`);
}
video.addEventListener("waiting", onWait);
video.addEventListener("playing", () => (waiting = false));
/** Shaka halts the clock instead of letting the video element run dry. */
video.addEventListener("ratechange", () => (video.playbackRate === 0 ? onWait() : (waiting = false)));
video.addEventListener("ended", () => {
  if (engine) note("ended", `after ${clock(video.currentTime)}, with ${plural(window.nightfill.switches.length, "switch", "switches")} and ${plural(window.nightfill.stalls, "stall")}`);
});

// ---- starting and stopping ----

async function start() {
  const choice = new FormData(form);
  const player = choice.get("player");
  const title = choice.get("title");
  const buffer = Number(choice.get("buffer"));
  if (!player || !title || !fleet.steering) return;
  await stop();
  const mine = ++run;
  [log, samples, lastError, waiting] = [[], [], { at: 0, from: null }, false];
  window.nightfill = fresh(player, title);
  drawSteering(window.nightfill);
  remember(player, title, buffer);
  note("start", `${title} with ${ENGINES[player].name} over ${ENGINES[player].protocol}`);
  document.getElementById("stop").disabled = false;
  video.muted = true;
  video.autoplay = true;
  try {
    const base = fleet.steering.replace(/[/]+$/, "");
    const started = await ENGINES[player].start({ video, base, title, buffer, session: crypto.randomUUID?.() ?? String(Math.random()).slice(2), tell: listener(mine) });
    if (mine === run) engine = started;
    else await started.stop();
  } catch (error) {
    if (mine === run) onError(window.nightfill, { fatal: true, code: 0, url: null, detail: error.message });
  }
}

async function stop() {
  run += 1;
  const old = engine;
  engine = null;
  document.getElementById("stop").disabled = true;
  await old?.stop();
  video.removeAttribute("src");
  video.load();
}

/** The address bar keeps the choice, so that it can be sent to a colleague. */
function remember(player, title, buffer) {
  const query = new URLSearchParams(location.search);
  for (const [key, value] of Object.entries({ title, player, buffer })) query.set(key, value);
  window.history.replaceState(null, "", `?${query}`);
}

// ---- drawing ----

function bufferAhead() {
  const at = video.currentTime;
  for (let i = 0; i < video.buffered.length; i++) {
    if (video.buffered.start(i) <= at + 0.1 && at < video.buffered.end(i)) return video.buffered.end(i) - at;
  }
  return 0;
}

function tick() {
  const facts = window.nightfill;
  facts.position = video.currentTime;
  facts.duration = Number.isFinite(video.duration) ? video.duration : 0;
  facts.ended = video.ended;
  facts.playing = engine !== null && !video.paused && !video.ended && !waiting && video.readyState >= 3;
  facts.buffer = bufferAhead();
  facts.droppedFrames = video.getVideoPlaybackQuality?.().droppedVideoFrames ?? 0;
  if (engine) {
    const now = Date.now();
    samples = samples.filter((x) => now - x.at <= (TIMELINE_SECONDS + 2) * 1000);
    samples.push({ at: now, buffer: facts.buffer, id: facts.appliance });
  }
  drawStatus(facts);
  drawFacts(facts);
  drawNow(facts);
  drawTimeline();
}

const pill = (tone, name, text) => h("span", { class: `pill ${tone}` }, icon(name), text);

function drawStatus(facts) {
  if (facts.ended) show("status", pill("ok", "check", "Ended"));
  else if (!engine) show("status", pill("", "play", facts.errors.some((e) => e.fatal) ? "Not playing" : "Ready"));
  else if (facts.playing) show("status", pill("ok", "play", "Playing"));
  else if (video.paused && facts.position > 0) show("status", pill("", "wait", "Paused"));
  else show("status", pill("warn", "wait", facts.position > 0.1 ? "Waiting for data" : "Starting"));
}

function drawFacts(facts) {
  const r = facts.rendition;
  const fact = (name, value, small, tone = "") => h("div", { "data-key": name, class: tone }, h("dt", {}, name), h("dd", {}, value, small ? h("small", {}, small) : null));
  show("facts",
    fact("Position", clock(facts.position), facts.duration ? `of ${clock(facts.duration)}` : " "),
    fact("Buffer", `${facts.buffer.toFixed(1)} s`, "ahead"),
    fact("Rendition", r ? `${r.height}p` : "–", r ? bits(r.bandwidth) : " "),
    fact("Segments", count(facts.segments), bytes(Object.values(facts.bytesByAppliance).reduce((a, b) => a + b, 0))),
    fact("Stalls", count(facts.stalls), plural(facts.errors.length, "error"), facts.stalls ? "bad" : ""),
    fact("Dropped", count(facts.droppedFrames), "frames"));
}

function drawNow(facts) {
  const rows = Object.entries(facts.bytesByAppliance).sort((a, b) => b[1] - a[1]);
  const total = rows.reduce((sum, [, size]) => sum + size, 0);
  show("now-aside", facts.switches.length ? plural(facts.switches.length, "switch", "switches") : "");
  if (!total) return show("now", h("p", { class: "muted" }, "No segment yet. Choose a title and press Play."));
  show("now",
    h("div", { class: "who" }, h("span", { class: "name" }, h("span", { class: `swatch ${colour(facts.appliance)}` }), facts.appliance ?? "–"),
      h("span", { class: "muted small" }, placeOf(facts))),
    bar(rows.map(([id, size]) => ({ share: size / total, class: colour(id), title: `${id}: ${bytes(size)}` })),
      rows.map(([id, size]) => `${id} ${percent(size / total)}`).join(", ")),
    h("table", { class: "bytes" }, h("caption", { class: "hidden-text" }, "Bytes of media by appliance"), h("tbody", {}, rows.map(([id, size]) =>
      h("tr", { "data-key": id, class: id === facts.appliance ? "current" : "" }, h("th", { scope: "row" }, h("span", { class: `swatch ${colour(id)}` }), id),
        h("td", {}, bytes(size)), h("td", {}, percent(size / total)))))));
}

function placeOf(facts) {
  const known = fleet.appliances.find((a) => a.id === facts.appliance);
  const where = known ? `site ${known.site}, ${known.state}` : facts.appliance === "origin" ? "the origin: the last resort of every ranking" : "";
  return [where, facts.pathway && facts.pathway !== facts.appliance ? `pathway ${facts.pathway}` : null].filter(Boolean).join(" · ");
}

function drawSteering(facts) {
  const list = facts.steering.slice(-STEERING_SHOWN).reverse();
  show("steering-aside", facts.steering.length ? plural(facts.steering.length, "answer") : "");
  if (!list.length) return show("steering", h("p", { class: "muted" }, "The player asks steering again and again while it plays; each answer ranks the appliances anew."));
  show("steering", h("table", { class: "answers" },
    h("thead", {}, h("tr", {}, ["Time", "TTL", "Pathway priority"].map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", {}, list.map((answer) => h("tr", { "data-key": answer.at }, h("td", { class: "muted" }, time(new Date(answer.at))), h("td", {}, `${answer.ttl} s`),
      h("td", {}, h("div", { class: "chips" }, answer.priority.map((id) => h("span", { class: "chip" }, id)))))))));
}

function drawTimeline() {
  const now = samples.at(-1)?.at ?? 0;
  const top = Math.max(5, Math.ceil(Math.max(0, ...samples.map((x) => x.buffer)) / 5) * 5);
  const x = (at) => Math.max(0, 100 - ((now - at) / (TIMELINE_SECONDS * 1000)) * 100);
  const line = samples.map((p) => `${x(p.at).toFixed(2)},${(100 - (p.buffer / top) * 100).toFixed(2)}`).join(" ");
  const runs = [];
  for (const p of samples) {
    if (p.id && runs.at(-1)?.id === p.id) runs.at(-1).to = p.at;
    else if (p.id) runs.push({ id: p.id, from: runs.at(-1)?.to ?? p.at, to: p.at });
  }
  show("timeline-aside", h("span", { class: "keys" }, [...new Set(runs.map((r) => r.id))].map((id) => h("span", { "data-key": id }, h("span", { class: `swatch ${colour(id)}` }), id))));
  show("timeline", h("div", { class: "timeline" },
    h("div", { class: "y", "aria-hidden": "true" }, h("span", {}, `${top} s`), h("span", {}, "0")),
    s("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", role: "img", "aria-label": `Buffer of the last ${TIMELINE_SECONDS} seconds, now ${window.nightfill.buffer.toFixed(1)} s` },
      [0, 50, 100].map((y) => s("line", { class: "rule", x1: 0, x2: 100, y1: y, y2: y })),
      samples.length > 1 ? [s("polygon", { class: "area", points: `${x(samples[0].at).toFixed(2)},100 ${line} 100,100` }), s("polyline", { class: "line", points: line })] : null),
    h("div", { class: "strip" }, s("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", role: "img", "aria-label": "Which appliance sent the last video segment" },
      runs.map((r) => s("rect", { class: colour(r.id), x: x(r.from).toFixed(2), width: Math.max(0, x(r.to) - x(r.from)).toFixed(2), height: 10 }, s("title", {}, r.id))))),
    h("div", { class: "x", "aria-hidden": "true" }, h("span", {}, `${TIMELINE_SECONDS} s ago`), h("span", {}, "now"))));
}

// ---- the choice ----

function banner(tone, title, text, mend) {
  window.nightfill.message = title ?? null;
  if (!title) return show("banner");
  show("banner", h("div", { class: `banner ${tone}` }, icon(tone === "bad" ? "alert" : "info"), h("div", {}, h("p", {}, title), h("p", {}, text), mend ? command(mend) : null)));
}

/** What keeps the page from playing, most important first, each with its mend. */
function explain(answers) {
  const installed = fleet.players.filter((p) => p.installed);
  if (!answers) return banner("bad", "The control plane does not answer.", "The page tries again by itself.");
  if (!installed.length) {
    return banner("warn", "No player is installed.", "Players come from npm and are served by the control plane; nothing is fetched from the network when you play. Install them once, then start the control plane with --players:",
      "npm ci --prefix control-plane/web\ncontrol-plane serve … --players control-plane/web/node_modules");
  }
  if (!fleet.titles.length) return banner("warn", "There is no title yet.", "Pack a film, then publish it:", `nightfill pack film.mp4 --out titles\nnightfill publish titles/film \\\n  --control ${location.origin} --token-file DIR/admin.token`);
  if (!fleet.steering) {
    return banner("warn", "The control plane was not told where steering is.", "Start it with --steering-url, or open this page with ?steering=:",
      "control-plane serve … --steering-url http://HOST:PORT");
  }
  const wanted = asked.get("title");
  if (wanted && !fleet.titles.some((t) => t.id === wanted)) return banner("warn", `There is no title ${wanted}.`, "Choose one of the list.");
  const player = wantedPlayer();
  if (player && !installed.some((p) => p.id === player)) return banner("warn", `The player ${player} is not installed.`, "Choose another one, or install it:", "npm ci --prefix control-plane/web");
  return banner("ok", null);
}

const wantedPlayer = () => ({ hls: "hls.js", dash: "dash.js" })[asked.get("player")] ?? asked.get("player");

function fillForm() {
  const [title, player] = [asked.get("title"), wantedPlayer()];
  const select = document.getElementById("title");
  const chosen = select.value || title;
  show("title", fleet.titles.map((t) => h("option", { value: t.id }, `${t.name} (${clock(t.duration_ms / 1000)})`)));
  select.value = fleet.titles.some((t) => t.id === chosen) ? chosen : (fleet.titles[0]?.id ?? "");
  const usable = fleet.players.filter((p) => p.installed);
  const checked = usable.find((p) => p.id === player) ?? usable[0];
  show("players", fleet.players.map((p) => h("label", { title: p.installed ? `${ENGINES[p.id].name} ${p.version ?? ""}` : "not installed" },
    h("input", { type: "radio", name: "player", value: p.id, checked: p === checked, disabled: !p.installed }), ENGINES[p.id].name,
    h("span", { class: "protocol" }, ENGINES[p.id].protocol))));
  document.getElementById("start").disabled = !usable.length || !fleet.titles.length || !fleet.steering;
}

function fillBuffer() {
  const wanted = Number(asked.get("buffer"));
  if (!(wanted >= MIN_BUFFER && wanted <= MAX_BUFFER)) return;
  const select = document.getElementById("buffer");
  if (![...select.options].some((o) => Number(o.value) === wanted)) select.append(h("option", { value: wanted }, `${wanted} s`));
  select.value = String(wanted);
}

async function learnChoice() {
  const [answers, players, titles] = await Promise.all([learnFleet(), ask("/players").catch(() => null), ask("/v1/titles").catch(() => null)]);
  if (players) Object.assign(fleet, { players: players.players.filter((p) => ENGINES[p.id]) });
  if (titles) fleet.titles = titles;
  fillForm();
  explain(answers && players !== null && titles !== null);
  return !document.getElementById("start").disabled && window.nightfill.message === null;
}

/** Nothing can be chosen before the control plane has answered; a page opened too early mends itself. */
async function open() {
  fillBuffer();
  while (!(await learnChoice())) await new Promise((done) => setTimeout(done, FLEET_MS));
  if (asked.get("autoplay") === "1") start();
  setInterval(() => document.hidden || learnFleet(), FLEET_MS);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  start();
});
document.getElementById("stop").addEventListener("click", stop);
listenForCopies();
drawSteering(window.nightfill);
setInterval(tick, TICK_MS);
tick();
open();
