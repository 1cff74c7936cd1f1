// Builds elements and brings a live tree up to date with a freshly built one.
//
// A page that polls must not throw away what the reader holds: focus, a text selection, an opened <details>, the
// scroll of a table. So each poll builds the whole section anew, which is simple, and `patch` then changes only the
// nodes that differ. Text is always set as text, never as markup: no answer of the API can inject any.

const SVG = "http://www.w3.org/2000/svg";

function build(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}

/** An HTML element. `attributes["data-key"]` keeps an item of a list the same node while the list changes. */
export function h(tag, attributes, ...children) {
  return build(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function s(tag, attributes, ...children) {
  return build(document.createElementNS(SVG, tag), attributes, children);
}

/** One of the icons that the page defines as <symbol id="i-…">; always beside a text, hence hidden from readers. */
export function icon(name) {
  return s("svg", { class: "icon", "aria-hidden": "true" }, s("use", { href: `#i-${name}` }));
}

/** A bar of parts, each `{ share: 0..1, class, title }`, drawn from the left. */
export function bar(parts, label) {
  let x = 0;
  const rects = parts.map((part) => {
    const width = Math.max(0, Math.min(1, part.share)) * 100;
    const rect = s("rect", { x: x.toFixed(3), width: width.toFixed(3), height: 10, class: part.class },
      part.title ? s("title", {}, part.title) : null);
    x += width;
    return rect;
  });
  return s("svg", { class: "bar", viewBox: "0 0 100 10", preserveAspectRatio: "none", role: "img", "aria-label": label }, rects);
}

function sameKind(a, b) {
  return a.nodeType === b.nodeType && a.nodeName === b.nodeName && keyOf(a) === keyOf(b);
}

function keyOf(node) {
  return node.nodeType === Node.ELEMENT_NODE ? node.getAttribute("data-key") : null;
}

function patchAttributes(live, fresh) {
  for (const { name, value } of fresh.attributes) {
    if (live.getAttribute(name) !== value) live.setAttribute(name, value);
  }
  for (const { name } of [...live.attributes]) {
    // Whether a <details> is open is the reader's decision.
    if (!fresh.hasAttribute(name) && !(name === "open" && live.nodeName === "DETAILS")) live.removeAttribute(name);
  }
}

/** Makes the children of `live` equal to those of `fresh`, moving and changing as few nodes as possible. */
export function patchChildren(live, fresh) {
  const old = [...live.childNodes];
  let at = live.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const found = old.findIndex((node) => sameKind(node, wanted));
    const node = found < 0 ? wanted : old.splice(found, 1)[0];
    if (node === at) at = at.nextSibling;
    else live.insertBefore(node, at);
    if (node !== wanted) patch(node, wanted);
  }
  for (const node of old) node.remove();
}

/** Makes `live` equal to `fresh`; both have the same tag. */
export function patch(live, fresh) {
  if (live.nodeType !== Node.ELEMENT_NODE) {
    if (live.data !== fresh.data) live.data = fresh.data;
    return;
  }
  patchAttributes(live, fresh);
  patchChildren(live, fresh);
}

/** Puts `children` into the element with this id. */
export function show(id, ...children) {
  const live = document.getElementById(id);
  patchChildren(live, build(live.cloneNode(false), {}, children));
}

/** A command to copy. The button appears only where the browser lets a page write the clipboard. */
export function command(text) {
  const button = navigator.clipboard
    ? h("button", { type: "button", class: "copy", "data-copy": text, "aria-label": "Copy the command" }, "Copy")
    : null;
  return h("div", { class: "command" }, h("pre", { tabindex: "0" }, h("code", {}, text)), button);
}

/** One listener for all copy buttons: those of a patched tree have none of their own. */
export function listenForCopies() {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(button.dataset.copy).then(
      () => (button.textContent = "Copied"),
      () => (button.textContent = "Not allowed"),
    );
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
}
