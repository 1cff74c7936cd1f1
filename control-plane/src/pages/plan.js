// The plan's page: draws what the planner said of a plan (GET /v1/plans/{n}/report) and of its day (…/review). It decides nothing,
// and asks once: a plan never changes.

import { h, s, icon, show } from "/assets/dom.js";
import { bytes, count, percent, plural } from "/assets/format.js";

const TIMEOUT_MS = 10_000;
const ROWS = 200;

const ACTIONS = {
  kept: { text: "kept", icon: "check", tone: "ok" },
  added: { text: "added", icon: "fill", tone: "info" },
  dropped: { text: "dropped", icon: "drop", tone: "warn" },
  left_out: { text: "left out", icon: "drop", tone: "" },
};
const REASONS = {
  larger_than_storage: "larger than any appliance's storage",
  larger_than_fill: "larger than one night's fill of any appliance",
  no_room: "no room: what is stored is worth more per byte",
  room_tomorrow: "room is made for it tonight; it is filled the next night",
  no_fill_left: "no fill left tonight: what is filled is worth more per byte",
};

const page = { plans: [], plan: null, report: null, review: null };
const field = (id) => document.getElementById(id);

/** The answer, or null where there is none (404). */
async function ask(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (answer.status === 404) return null;
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}`);
  return answer.json();
}

async function load() {
  try {
    page.plans = (await ask("/v1/plans")) ?? [];
    const wanted = Number(new URLSearchParams(location.search).get("n"));
    page.plan = page.plans.find((p) => p.number === wanted) ?? page.plans.find((p) => p.active) ?? page.plans[0] ?? null;
    page.report = page.review = null;
    if (page.plan) {
      const of = (kind) => ask(`/v1/plans/${page.plan.number}/${kind}`);
      [page.report, page.review] = await Promise.all([of("report"), of("review")]);
    }
    const strange = wanted && page.plan?.number !== wanted;
    banner(strange ? `There is no plan ${wanted}; this is ${page.plan ? `plan ${page.plan.number}` : "none"}.` : "", "warn");
  } catch (error) {
    return banner(error.name === "TimeoutError" ? "The control plane does not answer." : `The control plane does not answer: ${error.message}.`, "bad");
  }
  draw();
}

function banner(text, tone) {
  show("banner", text ? h("div", { class: `banner ${tone}` }, icon("alert"), h("div", {}, h("p", {}, text))) : null);
}

function draw() {
  const number = field("number");
  show("number", page.plans.map((p) => h("option", { value: p.number }, `#${p.number} for ${p.date}${p.active ? ", active" : ""}`)));
  if (!page.plan) return show("sites", empty("No plan yet", "`fill-planner run --activate` makes one, every night from cron."));
  number.value = page.plan.number;
  drawTiles();
  drawReview();
  if (!page.report) return show("sites", empty("No reasons are known", "The planner that published this plan left no report. `fill-planner run` leaves one with every plan."));
  const ids = page.report.sites.flatMap((site) => site.appliances.map((a) => a.appliance));
  const chosen = field("appliance").value;
  show("appliance", h("option", { value: "" }, "all"), ids.map((id) => h("option", { value: id }, id)));
  field("appliance").value = ids.includes(chosen) ? chosen : "";
  drawSites();
}

const empty = (title, text) => h("section", { class: "card" }, h("div", { class: "body" }, h("div", { class: "empty" }, h("h3", {}, title), h("p", {}, text))));
const sum = (list, of) => list.reduce((total, item) => total + of(item), 0);

function tile(label, value, note, extra) {
  return h("div", { class: "tile", "data-key": label }, h("div", { class: "label" }, label), h("div", { class: "value" }, value), extra, h("div", { class: "note" }, note));
}

/** The promised interval, what was promised, and what came, from 0 to 100 %. */
function interval(promise, came, kept) {
  const at = (share, cls, label) => s("rect", { class: cls, x: share * 100 - 0.5, width: 1, y: 0, height: 16 }, s("title", {}, label));
  return h("div", { class: "interval" }, s("svg", { viewBox: "0 0 100 16", preserveAspectRatio: "none", role: "img",
    "aria-label": `promised ${percent(promise.low)} to ${percent(promise.high)}${came === null ? "" : `, came ${percent(came)}`}` },
  s("rect", { class: "range", x: promise.low * 100, width: Math.max(0.6, (promise.high - promise.low) * 100), y: 3, height: 10 }),
  at(promise.hit_share, "at", "promised"), came === null ? null : at(came, kept ? "came" : "missed", "came")));
}

function drawTiles() {
  const { plan, report, review } = page;
  const promise = report?.promise ?? null;
  const came = review && review.demand ? review.hit / review.demand : null;
  const boxes = report ? report.sites.flatMap((site) => site.appliances) : [];
  const warnings = report?.warnings ?? [];
  field("tiles").classList.add("plan");
  show("tiles",
    tile("Plan", [`#${plan.number}`, h("span", { class: "of" }, ` for ${plan.date}`)], `${plan.active ? "active" : "not active"} · ${plural(plan.items, "object")} · ${bytes(plan.bytes)}`),
    promise
      ? tile("Promised from viewers' own sites", percent(promise.hit_share), `${percent(promise.low)} to ${percent(promise.high)} in nine days of ten, by ${plural(promise.days, "day")} planned anew`, interval(promise, came, review?.kept))
      : tile("Promised from viewers' own sites", "–", "too little history for a promise"),
    came === null
      ? tile("Came", "–", review ? "nobody drew anything" : "the day is not reviewed yet: `fill-planner review`")
      : tile("Came", percent(came), [`of ${bytes(review.demand)}${review.replayed ? ", replayed demand " : " "}`, review.kept === undefined ? "" : verdict(review.kept)]),
    tile("To fill", report ? bytes(sum(boxes, (b) => b.added)) : "–", report ? `${bytes(sum(boxes, (b) => b.kept))} kept, ${bytes(sum(boxes, (b) => b.dropped))} dropped` : ""),
    tile("Method", report ? h("span", { class: "small strong" }, report.method) : "–", report ? `${plural(report.history.days, "day")} of history` : ""));
  if (warnings.length) {
    show("banner", h("div", { class: "banner warn" }, icon("alert"), h("div", {}, warnings.map((w) => h("p", {}, `${w}.`)))));
  }
}

const verdict = (kept) => h("span", { class: `pill ${kept ? "ok" : "bad"}` }, icon(kept ? "check" : "alert"), kept ? "as promised" : "outside the promise");

const head = (...names) => h("thead", {}, h("tr", {}, names.map(([text, cls]) => h("th", { scope: "col", class: cls }, text))));

function drawReview() {
  const review = page.review;
  field("regions").hidden = !review || !review.demand;
  if (!review || !review.demand) return;
  show("regions-aside", `${review.date} against plan ${review.number}`);
  show("regions-body", h("table", { class: "titles plan-table" },
    head(["Region"], ["Drawn", "num"], ["From own sites", "num"], ["Missed most"]),
    h("tbody", {}, review.regions.map((r) => h("tr", {}, h("th", { scope: "row" }, r.region), h("td", { class: "num" }, bytes(r.demand)),
      h("td", { class: "num" }, percent(r.demand ? r.hit / r.demand : 0)),
      h("td", { class: "because" }, review.misses.filter((m) => m.region === r.region).slice(0, 5).map((m) => `${m.title ?? "not in the catalogue"} ${bytes(m.bytes)}`).join(", ") || "nothing"))))));
}

/** All rows of a site, one a title and appliance; those left out have no appliance. */
function rowsOf(site) {
  const rows = site.appliances.flatMap((a) => a.titles.map((t) => ({ ...t, appliance: a.appliance })));
  const out = site.left_out.map((t) => ({ ...t, action: "left_out", appliance: "", fill: 0, copies: 0, because: t.because ?? REASONS[t.reason] ?? t.reason }));
  return [...rows, ...out].sort((a, b) => b.expected - a.expected || (a.title ?? "").localeCompare(b.title ?? ""));
}

function drawSites() {
  const text = field("text").value.trim().toLowerCase();
  const [appliance, action] = [field("appliance").value, field("action").value];
  let found = 0;
  const cards = page.report.sites.map((site) => {
    const rows = rowsOf(site).filter((r) => (!text || (r.title ?? "").toLowerCase().includes(text)) &&
      (!appliance || r.appliance === appliance) && (!action || r.action === action));
    found += rows.length;
    return rows.length || !(text || appliance || action) ? card(site, rows) : null;
  });
  show("found", plural(found, "row"));
  show("sites", cards);
}

function card(site, rows) {
  const share = site.hit_share === undefined ? "nothing is expected" : `${percent(site.hit_share)} of ${bytes(site.expected)} expected`;
  return h("section", { class: "card", "data-key": site.site },
    h("header", {}, h("h2", {}, `${site.site}, region ${site.region}`), h("span", { class: "aside" }, share)),
    h("div", { class: "boxes" }, site.appliances.map((a) => h("span", {}, h("b", {}, a.appliance),
      ` ${bytes(a.kept)} kept, ${bytes(a.added)} to fill of ${bytes(a.fill_cap)}, ${bytes(a.dropped)} dropped, ${bytes(a.storage)} storage`))),
    h("table", { class: "titles plan-table" },
      head(["Title"], ["Appliance"], ["What"], ["Size", "num wide"], ["Expected a day", "num"], ["Copies", "num wide"], ["Because"]),
      h("tbody", {}, rows.slice(0, ROWS).map((r) => h("tr", { "data-key": `${r.title} ${r.appliance} ${r.action}` },
        h("th", { scope: "row" }, r.title ?? "gone from the catalogue"), h("td", {}, r.appliance || "none"),
        h("td", {}, h("span", { class: `pill ${ACTIONS[r.action].tone}` }, icon(ACTIONS[r.action].icon), ACTIONS[r.action].text)),
        h("td", { class: "num wide" }, bytes(r.size)), h("td", { class: "num" }, bytes(r.expected)),
        h("td", { class: "num wide" }, r.action === "left_out" ? "0" : count(r.copies)), h("td", { class: "because" }, r.because))))),
    rows.length > ROWS ? h("p", { class: "more muted small" }, `and ${count(rows.length - ROWS)} more: narrow the search, or read the whole at `,
      h("a", { href: `/v1/plans/${page.plan.number}/report` }, `/v1/plans/${page.plan.number}/report`)) : null);
}

document.querySelector("form.filter").addEventListener("submit", (event) => event.preventDefault());
for (const id of ["text", "appliance", "action"]) field(id).addEventListener("input", () => page.report && drawSites());
field("number").addEventListener("change", (event) => {
  history.pushState(null, "", `/plan?n=${event.target.value}`);
  load();
});
addEventListener("popstate", load);
load();
