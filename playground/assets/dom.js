// Elements, made and kept. Data comes in as text, never as markup, and an element stays the same
// while its data changes: focus, selection and a dragged slider survive every update.

/** An element. `attributes` starting with `on` are listeners; `text` is its text. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else set(element, name, value);
  }
  element.append(...children);
  return element;
}

/** Sets an attribute if it is another one; `null` and `false` take it away. */
export function set(element, name, value) {
  if (value === null || value === undefined || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
    return;
  }
  const text = value === true ? "" : String(value);
  if (element.getAttribute(name) !== text) element.setAttribute(name, text);
}

/** Sets the text if it is another one, so that a selection in it lives on. */
export function say(element, text) {
  const wanted = text ?? "";
  if (element.textContent !== String(wanted)) element.textContent = wanted;
}

/**
 * Makes the children of `parent` those of `items`, in their order. An item whose key was there
 * keeps its element; `update` tells it the news.
 */
export function keyed(parent, items, keyOf, make, update) {
  const had = parent.keyedChildren ?? new Map();
  const has = new Map();
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = String(keyOf(item));
    const element = had.get(key) ?? make(item);
    had.delete(key);
    has.set(key, element);
    update?.(element, item);
    if (element === place) place = place.nextElementSibling;
    else parent.insertBefore(element, place);
  }
  for (const element of had.values()) element.remove();
  parent.keyedChildren = has;
}

/** A button that can be off without losing the focus; pressed while off, it says why. */
export function enable(button, why) {
  set(button, "aria-disabled", why === null || why === undefined ? null : "true");
  set(button, "title", why);
}

/** What keeps a button off, or `null`. */
export function whyOff(button) {
  return button.getAttribute("aria-disabled") === "true" ? button.title || "not now" : null;
}

const integers = new Intl.NumberFormat("en");

export const number = (n) => (n === null || n === undefined ? "–" : integers.format(n));

export function bytes(n) {
  if (n === null || n === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) {
    n /= 1024;
    unit += 1;
  }
  return `${unit === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)} ${units[unit]}`;
}

export function millis(n) {
  if (n === null || n === undefined) return "–";
  if (n >= 1000) return `${(n / 1000).toFixed(1)} s`;
  return `${n >= 10 ? Math.round(n) : n.toFixed(1)} ms`;
}

export function clock(unixMillis) {
  return new Date(unixMillis).toLocaleTimeString("en-GB");
}

/** How long ago, in the largest unit that says something. */
export function ago(unixMillis) {
  const seconds = Math.max(0, Math.round((Date.now() - unixMillis) / 1000));
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  return `${Math.floor(seconds / 3600)} h ago`;
}

export const plural = (n, one) => `${number(n)} ${one}${n === 1 ? "" : "s"}`;

/** Copies a text, and says so on the button for a moment. */
export async function copy(button, text) {
  try {
    await navigator.clipboard.writeText(text);
    say(button, "Copied");
  } catch {
    say(button, "Select it");
  }
  setTimeout(() => say(button, "Copy"), 1500);
}

/** A command line, and a button that copies it. */
class CommandLine extends HTMLElement {
  connectedCallback() {
    if (this.code) return;
    this.code = h("code", { tabindex: "0" });
    this.button = h("button", { type: "button", class: "small", text: "Copy" });
    this.button.addEventListener("click", () => copy(this.button, this.code.textContent));
    this.append(this.code, this.button);
    this.command = this.pending;
  }

  set command(text) {
    this.pending = text;
    if (!this.code) return;
    say(this.code, text);
    set(this.button, "aria-label", `Copy the command ${text ?? ""}`.slice(0, 120));
    this.hidden = !text;
  }
}
customElements.define("command-line", CommandLine);

export function commandLine(text) {
  const element = h("command-line");
  element.command = text;
  return element;
}
