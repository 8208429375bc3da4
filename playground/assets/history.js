// History: a slider over all journaled changes, the keys as of then, and what changed since.

import { ago, clock, enable, h, keyed, number, plural, say, set, whyOff } from "./dom.js";
import { act, tell } from "./actions.js";
import { renderDiff } from "./diff.js";
import { between, changeAt, keysAt, latest, shown } from "./past.js";
import { restoreButtons } from "./return.js";

/** Glyph, words and tone of what the track is painted with. */
const MARKS = {
  "node-died": ["✕", "a node died", "bad"],
  leader: ["◆", "new leader", "accent"],
  lost: ["┃", "loss", "bad"],
  restored: ["↻", "restore", "past"],
  gap: ["╎", "gap", "warn"],
  retired: ["┇", "older history is retired", "wait"],
  timeline: ["┆", "new timeline", "past"],
};

/** How often the live view asks again, at most. */
const EVERY = 1000;

let at = null;
let pinned = null;
let count = 0;
let change = null;
let part = {};

/** The change that is looked at; `null` is now. */
export const isPast = () => at !== null;

const askChange = latest(changeAt, (answer, index) => {
  change = answer.changes.find((one) => one.index === index) ?? null;
  paint(answer.markers);
  moment();
});

const askKeys = latest(
  keysAt,
  (answer, question) => showKeys(answer, question),
  (error) => say(part.keysTitle, error.message),
);

const askDiff = latest(
  between,
  (answer, question) => renderDiff(part.diff, answer, question, isPast() && pinned === null),
  (error) => say(part.diffSays, error.message),
);

export function startHistory() {
  const section = document.getElementById("history");
  const button = (text, click, attributes = {}) => {
    const element = h("button", { type: "button", text, ...attributes });
    element.addEventListener("click", () => (whyOff(element) ? act.off(element) : click()));
    return element;
  };
  part = {
    moment: h("p", { class: "moment" }),
    back: button("Back to live", () => goTo(null), { id: "back" }),
    note: h("p", {
      class: "note past",
      hidden: true,
      text: "You are looking at the past. The " + "cluster goes on.",
    }),
    empty: h("p", {
      class: "muted",
      text: "The journal is empty: nothing has been written since " + "the persister began.",
    }),
    slider: h("input", { type: "range", id: "slider", min: 1, step: 1, "aria-label": "Change" }),
    marks: h("div", { class: "marks", "aria-hidden": "true" }),
    legend: h("p", { class: "legend small" }),
    earlier: button("‹", () => step(-1), { "aria-label": "One change back" }),
    later: button("›", () => step(1), { "aria-label": "One change forward" }),
    pin: button("Pin this moment", pin, { id: "pin" }),
    keysTitle: h("h3", { text: "Keys" }),
    prefix: h("input", {
      id: "prefix",
      placeholder: "/",
      "aria-label": "Only keys that begin with",
      autocomplete: "off",
      spellcheck: "false",
    }),
    keys: h("tbody", { id: "keys" }),
    more: button("More keys", moreKeys, { hidden: true }),
    none: h("p", {
      class: "muted",
      text: "No keys yet. Write one, or let the load generator do it.",
    }),
    diffTitle: h("h3"),
    diffSays: h("p", { class: "muted" }),
    diff: h("ul", { id: "diff", class: "diff" }),
    kept: h("p", {
      class: "muted small",
      text:
        "Bringing back creates and overwrites keys, and deletes none. Giving back as a new " +
        "revision also deletes what was not there then.",
    }),
    returns: h("div", { class: "row", id: "returns" }),
  };
  part.slider.addEventListener("input", () => goTo(Number(part.slider.value)));
  part.prefix.addEventListener("input", () => askKeys(question()));
  section.append(
    h(
      "div",
      { class: "head" },
      h("h2", { id: "history-title", text: "History" }),
      part.moment,
      part.back,
    ),
    part.note,
    part.empty,
    h(
      "div",
      { class: "track" },
      part.earlier,
      h("div", { class: "rail" }, part.marks, part.slider),
      part.later,
    ),
    part.legend,
    h(
      "div",
      { class: "two" },
      h(
        "div",
        {},
        h(
          "div",
          { class: "head" },
          part.keysTitle,
          h("label", { class: "small" }, "only ", part.prefix),
        ),
        part.none,
        h(
          "div",
          { class: "scroll", tabindex: "0", role: "region", "aria-label": "Keys" },
          h(
            "table",
            { class: "keys" },
            h(
              "thead",
              {},
              h(
                "tr",
                {},
                ...["Key", "Value"].map((text) => h("th", { scope: "col", text })),
                h("th", { scope: "col", class: "n", text: "Revision" }),
              ),
            ),
            part.keys,
          ),
        ),
        part.more,
      ),
      h(
        "div",
        {},
        h("div", { class: "head" }, part.diffTitle, part.pin),
        part.diffSays,
        part.diff,
        part.kept,
        part.returns,
      ),
    ),
  );
  restoreButtons(part.returns, button, () => at);
  look();
}

/** Looks at a change; `null` and everything after the last one is live. */
export function goTo(index) {
  at = index === null || index >= count ? null : Math.max(1, index);
  change = null;
  look();
  asked = Date.now();
  ask();
}

export function step(by) {
  if (count > 0) goTo((at ?? count) + by);
}

function pin() {
  pinned = pinned === null ? (at ?? count) : null;
  tell(
    pinned === null
      ? "Nothing is pinned."
      : `Change ${number(pinned)} is pinned: go to another ` +
          "one to see what changed between them.",
  );
  look();
  ask();
}

const question = () => ({ at: at ?? "now", prefix: part.prefix.value, after: "" });

/** From which to which change the differences are shown. */
function ends() {
  const shownNow = at ?? count;
  const other = pinned ?? count;
  return { from: Math.min(shownNow, other), to: Math.max(shownNow, other) };
}

function ask() {
  if (count === 0) return;
  askChange(at ?? count);
  askKeys(question());
  const { from, to } = ends();
  if (from < to) askDiff({ from, to });
}

let asked = 0;
let seen = null;

/** Something happened that the track may be painted with. */
export function historyIsStale() {
  seen = null;
}

export function renderHistory(state, off) {
  count = state.history.count;
  if (pinned !== null && pinned > count) pinned = null;
  const isNew = count !== seen;
  const due = Date.now() - asked >= EVERY;
  if (isNew && due) {
    seen = count;
    asked = Date.now();
    if (at === null) ask();
    else askChange(at);
  }
  for (const button of part.returns.querySelectorAll("button")) enable(button, off);
  look();
}

/** Shows where we are; says nothing of what is still asked for. */
function look() {
  const past = isPast();
  const section = document.getElementById("history");
  set(section, "data-past", past);
  part.note.hidden = !past;
  part.back.hidden = !past;
  part.returns.hidden = !past;
  part.kept.hidden = !past;
  part.empty.hidden = count > 0;
  for (const element of section.querySelectorAll(".track, .legend, .two")) {
    element.hidden = count === 0;
  }
  // The one change of a short history is at the right end, too.
  set(part.slider, "min", count > 1 ? 1 : 0);
  set(part.slider, "max", Math.max(1, count));
  const value = String(at ?? count);
  if (part.slider.value !== value) part.slider.value = value;
  enable(part.earlier, (at ?? count) > 1 ? null : "this is the first change");
  enable(part.later, past ? null : "this is now");
  say(part.pin, pinned === null ? "Pin this moment" : `Unpin change ${number(pinned)}`);
  const { from, to } = ends();
  say(
    part.diffTitle,
    from === to
      ? "What changed"
      : `What changed, ${number(from)} → ` + `${to === count ? "now" : number(to)}`,
  );
  if (from === to) {
    say(
      part.diffSays,
      past || pinned !== null
        ? "It is one and the same moment."
        : "Move the slider back: here stands what changed since.",
    );
    keyed(part.diff, [], () => "");
  } else if (part.diffSays.textContent.startsWith("Move")) {
    say(part.diffSays, "");
  }
  moment();
}

function moment() {
  const index = at ?? count;
  const parts = [`change ${number(index)} of ${number(count)}`];
  if (change) {
    parts.push(`revision ${number(change.revision)}`, clock(change.time));
    if (isPast()) parts.push(ago(change.time));
    parts.push(`${change.op} ${change.key}`);
  }
  say(part.moment, count === 0 ? "" : `${isPast() ? "" : "now · "}${parts.join(" · ")}`);
  set(part.slider, "aria-valuetext", parts.join(", "));
}

/** Marks closer than this share of the track stand side by side in one place. */
const CLOSE = 0.015;

/** Markers as groups that do not overlap, each with its place on the track from 0 to 1. */
function groups(markers) {
  const all = [];
  for (const marker of markers) {
    const place = count > 1 ? Math.min(1, Math.max(0, (marker.index - 1) / (count - 1))) : 1;
    const last = all.at(-1);
    if (last && place - last.place < CLOSE) last.markers.push(marker);
    else all.push({ place, markers: [marker] });
  }
  return all;
}

function updateGroup(element, { place, markers }) {
  element.style.setProperty("--at", place.toFixed(4));
  set(element, "title", markers.map((marker) => marker.says).join("\n"));
  const kinds = [...new Set(markers.map((marker) => marker.kind))].filter((kind) => MARKS[kind]);
  keyed(
    element,
    kinds,
    (kind) => kind,
    (kind) => {
      const [glyph, , tone] = MARKS[kind];
      return h("i", { "data-tone": tone, "data-kind": kind, text: glyph });
    },
  );
}

function paint(all) {
  // Every journal begins with a timeline: that is no news.
  const markers = all.filter((marker) => marker.kind !== "timeline" || marker.index > 1);
  const name = ({ markers: [first] }) => `${first.index}/${first.kind}/${first.time}`;
  keyed(part.marks, groups(markers), name, () => h("span"), updateGroup);
  const kinds = [...new Set(markers.map((marker) => marker.kind))].filter((kind) => MARKS[kind]);
  keyed(
    part.legend,
    kinds,
    (kind) => kind,
    (kind) => {
      const [glyph, text, tone] = MARKS[kind];
      return h(
        "span",
        { "data-tone": tone },
        h("i", { "aria-hidden": "true", text: `${glyph} ` }),
        text,
      );
    },
  );
  const here = markers.filter((marker) => marker.kind === "gap" && marker.index === at);
  if (here.length > 0) say(part.note, here[0].says);
  else say(part.note, "You are looking at the past. The cluster goes on.");
}

let next = null;

function showKeys(answer, asked_) {
  const isMore = asked_.after !== "";
  const rows = isMore ? [...(part.rows ?? []), ...answer.keys] : answer.keys;
  part.rows = rows;
  next = answer.next;
  say(part.keysTitle, `Keys ${isPast() ? "then" : "now"} (${number(answer.total)})`);
  part.none.hidden = answer.total > 0;
  part.more.hidden = next === null;
  say(part.more, `More: ${plural(answer.total - rows.length, "key")}`);
  keyed(
    part.keys,
    rows,
    (row) => row.key,
    () => h("tr", {}, h("th", { scope: "row" }), h("td"), h("td", { class: "n" })),
    (element, row) => {
      const [key, value, revision] = element.children;
      say(key, row.key);
      say(
        value,
        row.value === null ? `base64 ${row.base64}` : `${shown(row.value)}${row.cut ? "…" : ""}`,
      );
      say(revision, number(row.revision));
    },
  );
}

function moreKeys() {
  if (next !== null) askKeys({ ...question(), after: next });
}
