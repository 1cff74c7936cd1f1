// The operator's page: asks GET /v1/overview every two seconds while it is in view and draws what it answers.
// It decides nothing. Sparklines are kept here, from poll to poll; a new page starts with empty ones.

import { h, s, icon, bar, show, command, listenForCopies } from "/assets/dom.js";
import { bytes, bits, count, percent, plural, time, clock, ago, hourStart } from "/assets/format.js";

const POLL_MS = 2000;
const TIMEOUT_MS = 5000;
const SPARK_MS = 3 * 60 * 1000;
const SPARK_LEAST_MS = 20 * 1000;
const RECOVERED_MS = 8000;
const TITLES_SHOWN = 12;
const PREFIXES_SHOWN = 2;
const NEARLY_FULL = 0.9;

const STATES = {
  serving: { text: "Serving", icon: "check", tone: "ok" },
  draining: { text: "Draining", icon: "drain", tone: "warn", why: "It gets no new viewers; those it has are served to their end." },
  unhealthy: { text: "Unhealthy", icon: "alert", tone: "bad", why: "It asks for no viewers." },
  lost: { text: "Lost", icon: "lost", tone: "bad", why: "It has missed its reports." },
  joined: { text: "Joined", icon: "wait", tone: "info", why: "It has joined and not reported yet." },
};
const FILLS = {
  no_plan: { text: "No plan yet", icon: "none", tone: "none" },
  waiting_for_window: { text: "Waits for its window", icon: "wait", tone: "info" },
  filling: { text: "Filling", icon: "fill", tone: "info" },
  done: { text: "Complete", icon: "check", tone: "ok" },
  stopped: { text: "Stopped", icon: "stop", tone: "bad" },
};
const OUTCOMES = [
  { id: "hit", text: "Own site", tone: "ok", why: "an appliance of the viewer's own site" },
  { id: "content_miss", text: "Content miss", tone: "warn", why: "the own site does not hold it" },
  { id: "health_miss", text: "Health miss", tone: "bad", why: "the own site holds it and cannot take the viewer" },
  { id: "no_site", text: "No site", tone: "neutral", why: "no site announces the viewer's network" },
];

const page = { overview: null, titles: null, titlesOf: -1, answeredAt: null, failingSince: null, recoveredAt: null, why: "" };
/** Traffic of each appliance and of all (key ""), as `{ at, value }`, oldest first. */
const history = new Map();

// ---- polling ----

async function ask(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}`);
  return answer.json();
}

async function poll() {
  try {
    const overview = await ask("/v1/overview");
    if (page.failingSince) page.recoveredAt = Date.now();
    Object.assign(page, { overview, answeredAt: new Date(), failingSince: null, why: "" });
    remember(overview);
    if (page.titlesOf !== overview.titles) {
      page.titles = await ask("/v1/titles").catch(() => page.titles);
      page.titlesOf = page.titles ? overview.titles : -1;
    }
  } catch (error) {
    page.failingSince ??= new Date();
    page.why = error.name === "TimeoutError" ? `no answer within ${TIMEOUT_MS / 1000} s` : error.message;
  }
  draw();
}

let timer = null;
async function loop() {
  clearTimeout(timer);
  if (!document.hidden) await poll();
  clearTimeout(timer);
  if (document.hidden) drawLive();
  else timer = setTimeout(loop, POLL_MS);
}

function remember(overview) {
  const now = Date.now();
  const note = (key, value) => {
    const points = (history.get(key) ?? []).filter((point) => now - point.at < SPARK_MS);
    history.set(key, [...points, { at: now, value }]);
  };
  for (const id of history.keys()) {
    if (id && !overview.appliances.some((a) => a.id === id)) history.delete(id);
  }
  for (const a of overview.appliances) note(a.id, trafficOf(a));
  note("", sum(overview.appliances, trafficOf));
}

const sum = (list, of) => list.reduce((total, item) => total + of(item), 0);
/** What an appliance said before it was lost is no traffic of now. */
const isHeard = (a) => a.state !== "lost" && a.state !== "joined";
const trafficOf = (a) => (isHeard(a) ? a.load.egress : 0);
const toneOfLoad = (share) => (share >= 1 ? "bad" : share >= NEARLY_FULL ? "warn" : "ok");

// ---- drawing ----

function draw() {
  drawLive();
  drawBanner();
  const overview = page.overview;
  if (!overview) return;
  drawTiles(overview);
  drawAttention(overview);
  drawFleet(overview);
  drawHours(overview);
  drawOutcomes(overview);
  drawTitles(overview);
  drawTop(overview);
}

function drawLive() {
  const at = page.answeredAt ? time(page.answeredAt) : "";
  if (document.hidden) show("live", pill("", "wait", `Paused ${at}`));
  else if (page.failingSince) show("live", pill("bad", "lost", "No answer"));
  else show("live", pill("ok", "check", `Live ${at}`));
}

const pill = (tone, name, text) => h("span", { class: `pill ${tone}` }, icon(name), text);

function drawBanner() {
  if (page.failingSince) {
    const shown = page.overview ? `Below is what it said at ${time(page.answeredAt)}.` : "Nothing is known yet.";
    show("banner", h("div", { class: "banner bad" }, icon("alert"), h("div", {},
      h("p", {}, `The control plane does not answer since ${time(page.failingSince)} (${page.why}).`),
      h("p", {}, `${shown} Appliances go on serving and steering goes on ranking without it. This page keeps asking.`))));
  } else if (page.recoveredAt && Date.now() - page.recoveredAt < RECOVERED_MS) {
    show("banner", h("div", { class: "banner ok" }, icon("check"), h("div", {}, h("p", {}, "The control plane answers again."))));
  } else show("banner");
}

function tile(label, value, note, extra, tone = "") {
  return h("div", { class: `tile ${tone}`, "data-key": label },
    h("div", { class: "label" }, label), h("div", { class: "value" }, value), extra, h("div", { class: "note" }, note));
}

function drawTiles(o) {
  const traffic = sum(o.appliances, trafficOf);
  const heard = o.appliances.filter(isHeard);
  const capacity = sum(heard, (a) => a.capacity.egress);
  const serving = o.appliances.filter((a) => a.state === "serving").length;
  const load = capacity ? `${percent(traffic / capacity)} of ${bits(capacity)}` : "no appliance reports";
  show("tiles",
    tile("Traffic now", bits(traffic), [plural(sum(heard, (a) => a.load.connections), "connection"), h("br"), load],
      spark("", "Traffic of the last three minutes"), "wide"),
    hitTile(o),
    tile("Appliances serving", [count(serving), h("span", { class: "of" }, ` of ${count(o.appliances.length)}`)],
      `in ${plural(o.sites.length, "site")}`, o.appliances.length
        ? bar([{ share: serving / o.appliances.length, class: serving < o.appliances.length ? "warn" : "ok" }], "Share of appliances that serve") : null),
    fillTile(o),
    planTile(o));
}

function hitTile(o) {
  const sessions = sum(o.outcomes, (x) => x.sessions);
  const hits = sum(o.outcomes.filter((x) => x.outcome === "hit"), (x) => x.sessions);
  if (!sessions) return tile("Hit share", "–", "no session in 24 h");
  return tile("Hit share", percent(hits / sessions), `of ${plural(sessions, "session")} in 24\u00a0h`,
    bar([{ share: hits / sessions, class: "ok" }], "Share of sessions served by the viewer's own site"));
}

function fillTile(o) {
  const planned = o.appliances.filter((a) => a.fill.bytes_total > 0);
  const [done, total] = [sum(planned, (a) => a.fill.bytes_done), sum(planned, (a) => a.fill.bytes_total)];
  const filling = o.appliances.filter((a) => isHeard(a) && a.fill.state === "filling");
  const rate = sum(filling, (a) => a.fill.rate);
  if (!total) return tile("Fill", "–", "nothing planned");
  const note = filling.length ? `${bytes(done)} of ${bytes(total)} · ${bits(rate)}` : `${bytes(done)} of ${bytes(total)}`;
  return tile("Fill", percent(done / total), note, bar([{ share: done / total, class: done < total ? "info" : "ok" }], "Share of planned bytes held"));
}

function planTile(o) {
  if (!o.plan) return tile("Active plan", "–", "none published");
  const p = o.plan;
  return tile("Active plan", [h("a", { href: `/plan?n=${p.number}`, title: "why each title is where it is" }, `#${p.number}`), h("span", { class: "of" }, ` for ${p.date}`)],
    [`${plural(p.items, "object")} · ${bytes(p.bytes)}`, h("br"), `${plural(p.appliances, "appliance")} · `,
      h("span", { title: `published ${new Date(p.published).toLocaleString("en-GB")}` }, ago(new Date(p.published), new Date(o.at)))]);
}

/** Up to three minutes in time order, as wide as what is known; a pause of the page is a straight line. */
function spark(key, label) {
  const points = history.get(key) ?? [];
  const now = points.at(-1)?.at ?? 0;
  const span = Math.max(SPARK_LEAST_MS, now - (points[0]?.at ?? now));
  const top = Math.max(...points.map((p) => p.value), 1);
  const x = (p) => (100 - ((now - p.at) / span) * 100).toFixed(2);
  const y = (p) => (29 - (p.value / top) * 27).toFixed(2);
  const line = points.map((p) => `${x(p)},${y(p)}`).join(" ");
  return s("svg", { class: "spark", viewBox: "0 0 100 30", preserveAspectRatio: "none", role: "img",
    "aria-label": `${label}, peak ${bits(top === 1 ? 0 : top)}` },
  s("line", { class: "base", x1: 0, x2: 100, y1: 29.5, y2: 29.5 }),
  points.length > 1 ? [s("polygon", { class: "area", points: `${x(points[0])},29.5 ${line} 100,29.5` }), s("polyline", { class: "line", points: line })] : null);
}

// ---- attention ----

function problemsOf(a) {
  const list = [];
  const state = STATES[a.state];
  const last = a.last_report ? ` Last report at ${time(new Date(a.last_report))}.` : "";
  if (state?.why) list.push({ tone: state.tone, icon: state.icon, text: state.text, kind: null, detail: state.why + (a.state === "lost" ? last : "") });
  if (isHeard(a) && a.fill.state === "stopped") list.push({ tone: "bad", icon: "stop", text: "Fill stopped", detail: a.fill.detail ?? "It gives no reason." });
  for (const c of a.conditions) list.push({ tone: "warn", icon: "alert", text: "Condition", kind: c.kind, detail: c.detail });
  const share = a.capacity.egress ? trafficOf(a) / a.capacity.egress : 0;
  if (share >= NEARLY_FULL) list.push({ tone: "warn", icon: "alert", text: "Nearly full", detail: `It sends more than ${percent(NEARLY_FULL)} of its egress.` });
  return list;
}

function drawAttention(o) {
  const rows = o.appliances.flatMap((a) => problemsOf(a).map((p, i) => h("li", { "data-key": `${a.id}/${p.kind ?? p.text}/${i}` },
    pill(p.tone, p.icon, p.text), h("span", { class: "who" }, a.id),
    h("span", { class: "what" }, p.kind ? h("code", {}, p.kind) : null, p.detail))));
  document.getElementById("attention").hidden = rows.length === 0;
  show("attention-list", rows);
}

// ---- fleet ----

function drawFleet(o) {
  show("fleet-aside", o.sites.length ? `${plural(o.sites.length, "site")}, ${plural(o.appliances.length, "appliance")}` : "");
  if (!o.sites.length) return show("fleet-body", noSites());
  const orphans = [...new Set(o.appliances.map((a) => a.site))].filter((id) => !o.sites.some((site) => site.id === id));
  const sites = [...o.sites, ...orphans.map((id) => ({ id, prefixes: [] }))];
  const head = ["Appliance", "State", "Traffic", "Egress", "Fill", "Report"];
  const classes = ["", "col-state", "col-traffic", "col-headroom", "col-fill", "col-report"];
  show("fleet-body",
    h("table", { class: "fleet" }, h("caption", { class: "hidden-text" }, "Appliances by site"),
      h("thead", {}, h("tr", {}, head.map((text, i) => h("th", { scope: "col", class: classes[i] }, text)))),
      sites.map((site) => siteRows(o, site))),
    o.appliances.length ? (o.plan ? null : noPlan()) : noAppliances(o.sites[0].id));
}

function siteRows(o, site) {
  const mine = o.appliances.filter((a) => a.site === site.id);
  const empty = o.appliances.length ? h("tr", { class: "empty-site" }, h("td", { colspan: 6 }, "No appliance has joined this site.")) : null;
  return h("tbody", { "data-key": site.id },
    h("tr", { class: "site" }, h("th", { scope: "rowgroup", colspan: 6 }, h("div", { class: "site-line" },
      h("b", {}, site.id), site.region ? h("span", {}, `region ${site.region}`) : null, windowText(site.window), prefixes(site.prefixes),
      h("span", { class: "push" }, `${bits(sum(mine, trafficOf))} from ${plural(mine.length, "appliance")}`)))),
    mine.length ? mine.map((a) => applianceRow(a, o)) : empty);
}

function windowText(w) {
  if (!w) return null;
  return h("span", {}, w.start === w.end ? "fills at any hour" : `fills ${w.start}–${w.end} ${w.time_zone}`);
}

function prefixes(list) {
  if (!list.length) return h("span", {}, "no client networks");
  if (list.length <= PREFIXES_SHOWN) return h("span", {}, list.join(", "));
  return h("details", {}, h("summary", {}, `${list.slice(0, PREFIXES_SHOWN).join(", ")} and ${count(list.length - PREFIXES_SHOWN)} more`),
    h("ul", {}, list.slice(PREFIXES_SHOWN).map((p) => h("li", {}, p))));
}

function applianceRow(a, o) {
  const state = STATES[a.state] ?? { text: a.state, icon: "none", tone: "" };
  const heard = isHeard(a);
  return h("tr", { class: "appliance", "data-key": a.id },
    h("th", { scope: "row" }, h("div", { class: "id" }, a.id), h("div", { class: "sub" }, a.base_url), h("div", { class: "sub" }, a.profile)),
    h("td", { class: "cell-state", "data-label": "State" }, pill(state.tone, state.icon, state.text)),
    h("td", { class: `cell-traffic ${heard ? "" : "stale"}`, "data-label": "Traffic" }, h("div", { class: "traffic" },
      h("div", {}, h("div", { class: "num" }, bits(trafficOf(a))),
        h("div", { class: "sub" }, heard ? plural(a.load.connections, "connection") : "no report")),
      spark(a.id, `Traffic of ${a.id}`))),
    h("td", { class: "cell-headroom", "data-label": "Egress" }, headroom(a)),
    h("td", { class: "cell-fill", "data-label": "Fill" }, fill(a, o)),
    h("td", { class: "cell-report", "data-label": "Last report" }, h("div", { class: "sub" },
      a.last_report ? h("span", { title: new Date(a.last_report).toLocaleString("en-GB") }, ago(new Date(a.last_report), new Date(o.at))) : "never")));
}

function headroom(a) {
  if (!isHeard(a) || !a.capacity.egress) return h("span", { class: "sub" }, a.capacity.egress ? `of ${bits(a.capacity.egress)}` : "limit unknown");
  const share = trafficOf(a) / a.capacity.egress;
  const free = Math.max(0, a.capacity.egress - trafficOf(a));
  return h("div", {}, h("div", { class: "num" }, `${bits(free)} free`),
    bar([{ share, class: toneOfLoad(share) }], `${percent(share)} of the egress in use`),
    h("div", { class: "sub" }, `${percent(share)} of ${bits(a.capacity.egress)}`));
}

function fill(a, o) {
  const f = a.fill;
  const kind = FILLS[f.state] ?? { text: f.state, icon: "none", tone: "none" };
  const share = f.bytes_total ? f.bytes_done / f.bytes_total : f.state === "done" ? 1 : 0;
  const tone = { ok: "ok", bad: "bad", warn: "warn" }[kind.tone] ?? "info";
  const plan = a.plan === undefined ? "no plan" : o.plan && o.plan.number !== a.plan ? `plan #${a.plan}, active is #${o.plan.number}` : `plan #${a.plan}`;
  return h("div", { class: isHeard(a) ? "" : "stale" },
    h("div", { class: "pair" }, h("span", { class: `fill-state ${kind.tone}` }, icon(kind.icon), kind.text),
      f.bytes_total || f.state === "done" ? h("span", { class: "num" }, percent(share)) : null),
    bar([{ share, class: tone }], `${percent(share)} of the plan's bytes held`),
    h("div", { class: "sub pair" },
      h("span", {}, f.bytes_total ? `${bytes(f.bytes_done)} of ${bytes(f.bytes_total)} · ${count(f.objects_done)}/${count(f.objects_total)} objects`
        : plural(a.held, "object held", "objects held")),
      h("span", {}, f.state === "filling" ? bits(f.rate) : plan)),
    f.detail ? h("div", { class: `reason ${f.state === "stopped" ? "bad" : ""}` }, f.detail) : null);
}

// ---- charts ----

function drawHours(o) {
  const total = sum(o.hours, (x) => x.bytes);
  show("hours-aside", total ? `${bytes(total)} in all` : "");
  if (!total) {
    return show("hours", h("div", { class: "empty" }, h("h3", {}, "No byte has been sent yet"),
      h("p", {}, "Appliances count what viewers draw, hour by hour. ", h("a", { href: "/player" }, "Play a title"), " to see the first bar.")));
  }
  const known = new Map(o.hours.map((x) => [hourStart(x.hour).getTime(), x.bytes]));
  const last = Math.max(...known.keys());
  const hours = Array.from({ length: 24 }, (_, i) => last - (23 - i) * 3600e3).map((at) => ({ at: new Date(at), bytes: known.get(at) ?? 0 }));
  const top = niceTop(Math.max(...hours.map((x) => x.bytes)));
  const peak = hours.reduce((a, b) => (b.bytes > a.bytes ? b : a));
  const label = (at) => at.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  const bars = hours.map((x, i) => {
    const height = (x.bytes / top) * 100;
    const box = { x: (i / 24) * 100 + 0.5, width: 100 / 24 - 1 };
    return s("g", {}, s("title", {}, `${label(x.at)}: ${bytes(x.bytes)}`), s("rect", { ...box, class: "hit", y: 0, height: 100 }),
      s("rect", { ...box, y: (100 - height).toFixed(2), height: height.toFixed(2), class: i === 23 ? "now" : "" }));
  });
  const rules = [0, 50, 100].map((y) => s("line", { class: "rule", x1: 0, x2: 100, y1: y, y2: y }));
  show("hours", h("div", { class: "chart" },
    h("div", { class: "y", "aria-hidden": "true" }, h("span", {}, bytes(top)), h("span", {}, bytes(top / 2)), h("span", {}, "0")),
    h("div", { class: "plot" }, s("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", role: "img",
      "aria-label": `${bytes(total)} in 24 hours; most in the hour of ${label(peak.at)}: ${bytes(peak.bytes)}` }, rules, bars)),
    h("div", { class: "x", "aria-hidden": "true" }, [0, 6, 12, 18].map((i) => h("span", {}, label(hours[i].at), i === 18 ? h("span", {}, "now") : null)))));
}

/** The next of 1, 2, 5, 10, 20 … above a value, so that the axis has round numbers. */
function niceTop(value) {
  const unit = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 5, 10].map((n) => n * unit).find((n) => n >= value) ?? value;
}

function drawOutcomes(o) {
  const total = sum(o.outcomes, (x) => x.sessions);
  show("outcomes-aside", total ? plural(total, "session") : "");
  if (!total) {
    return show("outcomes", h("div", { class: "empty" }, h("h3", {}, "No session has been steered yet"),
      h("p", {}, "Steering counts here whether a viewer's own site could serve, and if not, why. ", h("a", { href: "/player" }, "Play a title"), " to see the first.")));
  }
  const shares = OUTCOMES.map((kind) => {
    const sessions = sum(o.outcomes.filter((x) => x.outcome === kind.id), (x) => x.sessions);
    return { ...kind, sessions, share: sessions / total };
  });
  show("outcomes",
    h("div", { class: "share" }, h("span", { class: "value" }, percent(shares[0].share)), h("span", { class: "muted" }, "served by the viewer's own site")),
    bar(shares.map((x) => ({ share: x.share, class: x.tone, title: `${x.text}: ${percent(x.share)}` })),
      shares.map((x) => `${x.text} ${percent(x.share)}`).join(", ")),
    h("table", { class: "legend" }, h("tbody", {}, shares.map((x) => h("tr", {},
      h("th", { scope: "row" }, h("span", { class: `swatch ${x.tone}` }), x.text, h("span", { class: "why" }, x.why)),
      h("td", {}, count(x.sessions)), h("td", { class: "strong" }, percent(x.share)))))));
}

// ---- titles ----

const playLink = (id, content) => h("a", { class: "play", href: `/player?title=${encodeURIComponent(id)}&autoplay=1` }, content);

function drawTitles(o) {
  show("titles-aside", o.titles ? `${plural(o.titles, "title")}, ${plural(o.objects, "object")}` : "");
  if (!o.titles) return show("titles", noTitles());
  const list = page.titles ?? [];
  show("titles", h("table", { class: "titles" },
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Name"), h("th", { scope: "col", class: "num" }, "Length"),
      h("th", { scope: "col", class: "num wide" }, "Objects"), h("th", { scope: "col", class: "num" }, "Size"),
      h("th", { scope: "col" }, h("span", { class: "hidden-text" }, "Play")))),
    h("tbody", {}, list.slice(0, TITLES_SHOWN).map((t) => h("tr", { "data-key": t.id },
      h("th", { scope: "row" }, t.name), h("td", { class: "num" }, clock(t.duration_ms / 1000)), h("td", { class: "num wide" }, count(t.objects)),
      h("td", { class: "num" }, bytes(t.size)), h("td", {}, playLink(t.id, [icon("play"), "Play"])))))),
  list.length > TITLES_SHOWN ? h("p", { class: "more muted small" }, `and ${count(list.length - TITLES_SHOWN)} more: `, h("a", { href: "/v1/titles" }, "/v1/titles")) : null);
}

function drawTop(o) {
  if (!o.top_titles.length) {
    return show("top", h("div", { class: "empty" }, h("p", {}, "Nothing has been watched in the last 24 hours.")));
  }
  const most = Math.max(...o.top_titles.map((t) => t.bytes), 1);
  show("top", h("ol", { class: "ranks" }, o.top_titles.map((t) => h("li", { "data-key": t.title },
    h("a", { class: "name", href: `/player?title=${encodeURIComponent(t.title)}` }, t.name), h("span", { class: "strong" }, bytes(t.bytes)),
    bar([{ share: t.bytes / most, class: "accent" }], `${bytes(t.bytes)} sent`)))));
}

// ---- what a newcomer does next ----

/** Where the control plane is, and the token that it wrote beside its database when it first started. */
const admin = () => `\\\n  --control ${location.origin} --token-file DIR/admin.token`;
const aboutDir = () => [h("code", {}, "DIR"), " is the control plane's ", h("code", {}, "--data"), " folder."];

function next(title, text, what, about = aboutDir()) {
  return h("div", { class: "empty" }, h("h3", {}, title), h("p", {}, text), command(what), h("p", {}, about));
}

function noSites() {
  return next("No site yet", "A site is a place with appliances, the client networks that it serves, and the hours in which it fills. Make the first:",
    `nightfill site put home --region here --prefix 127.0.0.0/8 ${admin()}`,
    [...aboutDir(), " Or let ", h("code", {}, "tools/demo"), " start a whole fleet on this machine."]);
}

function noAppliances(site) {
  return next("No appliance has joined yet", "Ask for a one-time token, put it into the appliance's configuration, and start the appliance:",
    `nightfill join-token oca-1 --site ${site} ${admin()}\noca-server run --config oca-1.toml`);
}

function noTitles() {
  return next("No title yet", "Pack a film into a ladder of renditions, then publish it here:",
    `nightfill pack film.mp4 --out titles\nnightfill publish titles/film ${admin()}`);
}

function noPlan() {
  return next("No plan yet", "Appliances hold nothing until a plan tells them what will be watched. Make tomorrow's:",
    `fill-planner run --activate ${admin()}`);
}

document.addEventListener("visibilitychange", loop);
listenForCopies();
loop();
