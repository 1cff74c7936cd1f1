// Lets Shaka follow content steering over DASH where each rendition is one file (SegmentBase). Shaka keeps such a file's addresses in
// the order of the moment at which it read the segment index; this puts them in the order of the newest steering answer.
//
// Made to be copied into other pages: it needs nothing but Shaka. Call it before `player.load`; it does no harm elsewhere.

/** An address that has failed is asked last for as long as Shaka itself avoids one. */
const AVOIDED_MS = 60_000;

export function followSteering(shaka, player) {
  const { RequestType } = shaka.net.NetworkingEngine;
  const network = player.getNetworkingEngine();
  const text = (response) => new TextDecoder().decode(response.data);
  /** Where each pathway's files are: [{ pathway, base }]. */
  let places = [];
  /** Pathways, best first. */
  let priority = [];
  /** Bases by the time until which they come last. */
  const avoided = new Map();
  const placeOf = (uri) => places.find(({ base }) => uri.startsWith(base));

  network.registerResponseFilter((type, response) => {
    if (type === RequestType.MANIFEST) {
      const mpd = new DOMParser().parseFromString(text(response), "text/xml");
      places = [...mpd.querySelectorAll("BaseURL[serviceLocation]")].map((at) => ({
        pathway: at.getAttribute("serviceLocation"), base: new URL(at.textContent.trim(), response.uri).href,
      }));
    } else if (type === RequestType.CONTENT_STEERING) {
      priority = JSON.parse(text(response))["PATHWAY-PRIORITY"] ?? [];
    }
  });
  network.addEventListener("retry", ({ error }) => {
    const place = placeOf(String(error?.data?.[0]));
    if (place) avoided.set(place.base, Date.now() + AVOIDED_MS);
  });
  network.registerRequestFilter((type, request) => {
    if (type !== RequestType.SEGMENT || !priority.length) return;
    const rank = (uri) => {
      const place = placeOf(uri);
      const at = priority.indexOf(place?.pathway);
      const last = at < 0 || Date.now() < (avoided.get(place.base) ?? 0);
      return last ? priority.length : at;
    };
    request.uris = [...request.uris].sort((a, b) => rank(a) - rank(b));
  });
}
