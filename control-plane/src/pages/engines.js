// One adapter for each player. An engine starts playback and tells the page, in the same words whichever player it
// is, what the player's own events say: bytes that came and from where, steering answers, renditions, errors.
//
//   start({ video, base, title, buffer, session, tell }) -> { stop() }
//
//   tell.fragment({ url, bytes, kind, pathway })        a segment is here; kind is "video", "audio" or "media"
//   tell.steering({ ttl, priority, url })               a steering answer was taken
//   tell.rendition({ height, width, bandwidth, id })    the rendition on screen
//   tell.error({ fatal, code, url, detail })            code is an HTTP status, 0 for none
//   tell.note(text)

import { followSteering } from "/assets/shaka-steering.js";

const SCRIPTS = new Map();

/** Loads a player's script once; the control plane serves it from the folder of --players. */
function script(url) {
  if (!SCRIPTS.has(url)) {
    SCRIPTS.set(url, new Promise((done, failed) => {
      const tag = document.createElement("script");
      tag.src = url;
      tag.addEventListener("load", done);
      tag.addEventListener("error", () => {
        SCRIPTS.delete(url);
        failed(new Error(`${url} could not be loaded`));
      });
      document.head.append(tag);
    }));
  }
  return SCRIPTS.get(url);
}

/** A fatal network error is tried again after this long, this many times in a row, before the page gives up. */
const RETRY_MS = 1000;
const RETRIES = 5;

async function startHls({ video, base, title, buffer, session, tell }) {
  await script("/players/hls.js");
  const Hls = window.Hls;
  if (!Hls.isSupported()) throw new Error("this browser has no Media Source Extensions, which hls.js needs");
  const hls = new Hls({
    maxBufferLength: buffer,
    maxMaxBufferLength: buffer,
    backBufferLength: 30,
    cmcd: { sessionId: session, contentId: title, useHeaders: false },
  });
  let retries = RETRIES;
  const levelOf = (frag) => (frag.type === "main" ? hls.levels[frag.level] : null);
  hls.on(Hls.Events.FRAG_LOADED, (_, { frag, payload, networkDetails }) => {
    retries = RETRIES;
    tell.fragment({
      url: networkDetails?.responseURL || networkDetails?.url || frag.url,
      bytes: frag.stats.loaded || payload.byteLength,
      kind: frag.type === "main" ? "video" : frag.type,
      pathway: levelOf(frag)?.pathwayId ?? null,
    });
  });
  hls.on(Hls.Events.STEERING_MANIFEST_LOADED, (_, { steeringManifest, url }) =>
    tell.steering({ ttl: steeringManifest.TTL, priority: steeringManifest["PATHWAY-PRIORITY"] ?? [], url }));
  hls.on(Hls.Events.LEVEL_SWITCHED, (_, { level }) => {
    const { height, width, bitrate, attrs } = hls.levels[level] ?? {};
    tell.rendition({ height, width, bandwidth: bitrate, id: attrs?.["STABLE-VARIANT-ID"] ?? null });
  });
  hls.on(Hls.Events.ERROR, (_, data) => {
    const { fatal, type, details, response, frag, url } = data;
    tell.error({ fatal, code: response?.code ?? 0, url: frag?.url ?? url ?? null, detail: details });
    if (!fatal) return;
    if (type === Hls.ErrorTypes.MEDIA_ERROR) hls.recoverMediaError();
    else if (retries-- > 0) {
      setTimeout(() => (hls.levels.length ? hls.startLoad() : hls.loadSource(hls.url)), RETRY_MS);
    } else tell.note(`hls.js gave up after ${RETRIES} tries`);
  });
  hls.loadSource(`${base}/v1/play/${encodeURIComponent(title)}/master.m3u8`);
  hls.attachMedia(video);
  return { stop: () => hls.destroy() };
}

/** A failed segment is asked for once more, soon: the default of 3 tries a second apart would outlast a small buffer. */
const DASH_RETRIES = { MPD: 3, InitializationSegment: 1, MediaSegment: 1, IndexSegment: 1 };
const DASH_RETRY_MS = { MPD: 500, InitializationSegment: 300, MediaSegment: 300, IndexSegment: 300 };

/** A segment could not be loaded; the message is its long address. */
const DASH_SEGMENT_ERRORS = [27, 28];
/** No manifest, or nowhere left to load from: dash.js stops. */
const DASH_FATAL_ERRORS = [10, 11, 19, 25];

async function startDash({ video, base, title, buffer, session, tell }) {
  await script("/players/dash.js");
  const player = window.dashjs.MediaPlayer().create();
  const events = window.dashjs.MediaPlayer.events;
  player.updateSettings({
    debug: { logLevel: 1 },
    streaming: {
      buffer: {
        bufferTimeDefault: buffer, bufferTimeAtTopQuality: buffer, bufferTimeAtTopQualityLongForm: buffer, bufferToKeep: 30,
      },
      retryAttempts: DASH_RETRIES,
      retryIntervals: DASH_RETRY_MS,
      cmcd: { enabled: true, mode: "query", sid: session, cid: title },
    },
  });
  player.on(events.FRAGMENT_LOADING_COMPLETED, ({ request, response, error }) => {
    if (error || !response || request.type !== "MediaSegment") return;
    tell.fragment({ url: request.url, bytes: response.byteLength, kind: request.mediaType, pathway: request.serviceLocation ?? null });
  });
  player.on(events.CONTENT_STEERING_REQUEST_COMPLETED, ({ currentSteeringResponseData: data, url }) => {
    if (data) tell.steering({ ttl: data.ttl, priority: data.pathwayPriority ?? [], url });
  });
  const rendition = (r) => r && tell.rendition({ height: r.height, width: r.width, bandwidth: r.bandwidth ?? r.bitsPerSecond, id: r.id });
  player.on(events.QUALITY_CHANGE_RENDERED, ({ mediaType, newRepresentation }) => mediaType === "video" && rendition(newRepresentation));
  player.on(events.PLAYBACK_PLAYING, () => rendition(player.getCurrentRepresentationForType("video")));
  player.on(events.ERROR, ({ error }) => {
    const { request, response } = error.data ?? {};
    const segment = DASH_SEGMENT_ERRORS.includes(error.code);
    const detail = segment ? "segment not loaded" : `${error.message ?? error} (dash.js error ${error.code ?? "unknown"})`;
    tell.error({ fatal: DASH_FATAL_ERRORS.includes(error.code), code: response?.status ?? 0, url: request?.url ?? null, detail });
  });
  player.on(events.FRAGMENT_LOADING_ABANDONED, ({ mediaType }) => tell.note(`a ${mediaType} segment was given up for a smaller one`));
  player.initialize(video, `${base}/v1/play/${encodeURIComponent(title)}/manifest.mpd`, true);
  return { stop: () => player.destroy() };
}

async function startShaka(file, { video, base, title, buffer, session, tell }) {
  await script("/players/shaka.js");
  const { shaka } = window;
  shaka.polyfill.installAll();
  const player = new shaka.Player();
  await player.attach(video);
  const fast = { maxAttempts: 2, baseDelay: 300, timeout: 10000 };
  player.configure({
    streaming: { bufferingGoal: buffer, rebufferingGoal: Math.min(1, buffer / 4), bufferBehind: 30, retryParameters: fast },
    manifest: { retryParameters: { ...fast, maxAttempts: 4 } },
    cmcd: { enabled: true, useHeaders: false, sessionId: session, contentId: title },
  });
  followSteering(shaka, player);
  const failed = (error, fatal) => {
    const [url, status] = error?.data ?? [];
    tell.error({ fatal, code: status > 0 ? status : 0, url: typeof url === "string" ? url : null, detail: `Shaka error ${error?.code ?? "unknown"}` });
  };
  const { RequestType, AdvancedRequestType } = shaka.net.NetworkingEngine;
  player.getNetworkingEngine().addEventListener("retry", ({ error }) => failed(error, false));
  player.getNetworkingEngine().registerResponseFilter((type, response, context) => {
    if (type === RequestType.SEGMENT && context?.type === AdvancedRequestType.MEDIA_SEGMENT) {
      tell.fragment({ url: response.uri, bytes: response.data.byteLength, kind: context.stream?.type ?? "media", pathway: null });
    } else if (type === RequestType.CONTENT_STEERING) {
      const body = JSON.parse(new TextDecoder().decode(response.data));
      tell.steering({ ttl: body.TTL, priority: body["PATHWAY-PRIORITY"] ?? [], url: response.uri });
    }
  });
  const rendition = () => {
    const track = player.getVariantTracks().find((t) => t.active);
    if (track) tell.rendition({ height: track.height, width: track.width, bandwidth: track.bandwidth, id: null });
  };
  for (const event of ["adaptation", "variantchanged", "trackschanged"]) player.addEventListener(event, rendition);
  // Of a recorded title Shaka gives streaming up when a playlist cannot be loaded, also where another pathway has it.
  let retries = RETRIES;
  const moves = () => { retries = RETRIES; };
  video.addEventListener("timeupdate", moves);
  player.addEventListener("error", ({ detail }) => {
    const critical = detail.severity === shaka.util.Error.Severity.CRITICAL;
    const again = critical && detail.category === shaka.util.Error.Category.NETWORK && retries-- > 0;
    failed(detail, critical && !again);
    if (again) setTimeout(() => player.retryStreaming(), RETRY_MS);
  });
  player.load(`${base}/v1/play/${encodeURIComponent(title)}/${file}`).then(
    () => { rendition(); video.play().catch((error) => tell.note(error.message)); },
    (error) => error.code !== shaka.util.Error.Code.LOAD_INTERRUPTED && failed(error, true),
  );
  return {
    stop() {
      video.removeEventListener("timeupdate", moves);
      return player.destroy();
    },
  };
}

async function startVideojs({ video, base, title, buffer, tell }) {
  window.VIDEOJS_NO_DYNAMIC_STYLE = true; // the page's policy allows no style but its own
  await script("/players/video.js");
  const { videojs } = window;
  Object.assign(videojs.Vhs, { GOAL_BUFFER_LENGTH: buffer, MAX_GOAL_BUFFER_LENGTH: buffer });
  const place = video.parentNode;
  // No controls of its own, which would want its style sheet: the browser's, as with the other players.
  const player = videojs(video, { autoplay: "muted", children: ["mediaLoader"], html5: { vhs: { overrideNative: true } } });
  player.ready(() => { video.controls = true; });
  const vhs = () => player.tech(true)?.vhs;
  player.on("xhr-hooks-ready", () => vhs().xhr.onResponse((request, error, response) => {
    const { requestType, uri } = request;
    const status = response?.statusCode ?? 0;
    if (request.aborted) return;
    if (error || status >= 400) tell.error({ fatal: false, code: status, url: uri, detail: `${requestType} not loaded` });
    else if (requestType === "segment") {
      tell.fragment({ url: response.url ?? uri, bytes: request.response?.byteLength ?? 0, kind: "media", pathway: null });
    } else if (requestType === "content-steering-manifest") {
      const body = JSON.parse(request.responseText);
      tell.steering({ ttl: body.TTL, priority: body["PATHWAY-PRIORITY"] ?? [], url: uri });
    }
  }));
  const rendition = () => {
    const { RESOLUTION, BANDWIDTH, ...attributes } = vhs()?.playlists?.media()?.attributes ?? {};
    if (BANDWIDTH) tell.rendition({ height: RESOLUTION?.height, width: RESOLUTION?.width, bandwidth: BANDWIDTH, id: attributes["STABLE-VARIANT-ID"] ?? null });
  };
  for (const event of ["playing", "resize"]) player.on(event, rendition);
  player.on("error", () => tell.error({ fatal: true, code: 0, url: null, detail: `video.js error ${player.error()?.code}: ${player.error()?.message}` }));
  player.src({ src: `${base}/v1/play/${encodeURIComponent(title)}/master.m3u8`, type: "application/x-mpegURL" });
  return {
    stop() {
      player.dispose();
      if (!video.isConnected) place.prepend(video);
    },
  };
}

/** By the ids of GET /players. */
export const ENGINES = {
  "hls.js": { name: "hls.js", protocol: "HLS", start: startHls },
  "dash.js": { name: "dash.js", protocol: "DASH", start: startDash },
  shaka: { name: "Shaka", protocol: "HLS", start: (how) => startShaka("master.m3u8", how) },
  "shaka-dash": { name: "Shaka", protocol: "DASH", start: (how) => startShaka("manifest.mpd", how) },
  "video.js": { name: "video.js", protocol: "HLS", start: startVideojs },
};
