// You, the client: a write with its durability chosen, and what became of it.

import { act, tell } from "./actions.js";
import { post, Refused } from "./api.js";
import { enable, h, keyed, millis, number, say, set, whyOff } from "./dom.js";

const OUTCOMES = {
  durable: ["✓", "ok", "durable"],
  applied: ["◐", "warn", "in effect, not confirmed"],
  refused: ["✕", "bad", "not applied"],
  unknown: ["?", "wait", "unknown"],
  waiting: ["◐", "wait", "on its way"],
};

const SHOWN = 6;

const byId = (id) => document.getElementById(id);

let writes = [];
let count = 0;

/** Writes a value (`null` deletes), and shows what became of it. */
export async function write(key, value, wait, node = null) {
  count += 1;
  const entry = { id: count, key, outcome: "waiting", says: null, ms: null };
  writes = [entry, ...writes].slice(0, SHOWN);
  show();
  try {
    const answer = await post("write", { key, value, wait, node });
    Object.assign(entry, { outcome: answer.outcome, says: answer.says, ms: answer.ms });
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    // An answer that never came tells nothing of the write.
    Object.assign(entry, {
      outcome: error.status === 0 ? "unknown" : "refused",
      says: error.message,
    });
  }
  show();
  return entry;
}

function show() {
  keyed(byId("outcomes"), writes, (entry) => entry.id, makeOutcome, updateOutcome);
}

function makeOutcome(entry) {
  return h(
    "li",
    {},
    h("i", { "aria-hidden": "true" }),
    h(
      "p",
      {},
      h("code", { text: entry.key }),
      " ",
      h("span", { class: "what" }),
      h("span", { class: "ms" }),
    ),
    h("p", { class: "says" }),
  );
}

function updateOutcome(element, entry) {
  const [glyph, tone, name] = OUTCOMES[entry.outcome] ?? OUTCOMES.unknown;
  set(element, "data-tone", tone);
  set(element, "data-outcome", entry.outcome);
  say(element.querySelector("i"), glyph);
  say(element.querySelector(".what"), name);
  say(element.querySelector(".ms"), entry.ms === null ? "" : ` ${millis(entry.ms)}`);
  const says = element.querySelector(".says");
  say(says, entry.says ?? "");
  says.hidden = !entry.says;
}

function chosenWait() {
  const wait = new FormData(byId("write")).get("wait");
  return wait === "all" ? "all" : Number(wait);
}

function submit(value) {
  if (whyOff(byId("do-write"))) return act.off(byId("do-write"));
  if (!byId("write").reportValidity()) return;
  write(byId("key").value, value, chosenWait(), byId("node").value || null);
}

export function startClient() {
  byId("write").addEventListener("submit", (event) => {
    event.preventDefault();
    submit(byId("value").value);
  });
  byId("do-delete").addEventListener("click", () => submit(null));
  byId("load").addEventListener("change", async (event) => {
    const rate = Number(event.target.value);
    event.target.asked = Date.now();
    if (await act.load(rate))
      tell(
        rate ? `The load generator writes ${rate} times a second.` : "The load generator is off.",
      );
  });
}

/** The select shows what was asked for until the server has had the time to say it, too. */
const ASKED = 2000;

export function renderClient(state, off) {
  enable(byId("do-write"), off);
  enable(byId("do-delete"), off);
  byId("load").disabled = off !== null;
  const load = byId("load");
  if (Date.now() - (load.asked ?? 0) > ASKED && document.activeElement !== load) {
    const rate = String(state.load.rate);
    if (load.value !== rate) load.value = rate;
  }
  const { durable, applied, refused, unknown, in_flight: inFlight } = state.writes;
  const told = durable + applied + refused + unknown + inFlight;
  say(
    byId("totals"),
    told === 0
      ? ""
      : `In all ${number(durable)} durable · ${number(applied)} not ` +
          `confirmed · ${number(refused)} refused · ${number(unknown)} unknown` +
          `${inFlight ? ` · ${number(inFlight)} on their way` : ""}`,
  );
  const select = byId("node");
  byId("through").hidden = state.nodes.length < 2;
  keyed(
    select,
    [{ id: "" }, ...state.nodes],
    (node) => node.id,
    (node) => h("option", { value: node.id, text: node.id || "any node" }),
  );
}
