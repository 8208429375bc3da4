// Nodes and persisters: one card each, with what can be done to it.

import { act } from "./actions.js";
import { confirm, showCommands, showLog } from "./dialogs.js";
import { bytes, enable, h, keyed, number, say, set, whyOff } from "./dom.js";
import { word } from "./words.js";

/** Every state has a glyph, a word and a tone. */
const STATES = {
  starting: ["◐", "starting", "wait"],
  serving: ["●", "serving", "ok"],
  leader: ["◆", "leader", "accent"],
  follower: ["●", "follower", "ok"],
  following: ["●", "following", "ok"],
  behind: ["◐", "behind", "warn"],
  rejoining: ["◐", "rejoining", "wait"],
  paused: ["❚❚", "paused", "warn"],
  down: ["✕", "down", "bad"],
  ended: ["✕", "ended", "bad"],
  wiped: ["○", "wiped", "bad"],
  restoring: ["↻", "restoring", "past"],
};

/** A button whose command has just changed rests, lest a double click give both. */
const REST = 400;

const SLOTS = [["kill", "start"], ["pause", "resume"], ["wipe"]];
const LABELS = {
  kill: "Kill",
  start: "Start",
  pause: "Pause",
  resume: "Resume",
  wipe: "Wipe…",
};

class MachineCard extends HTMLElement {
  connectedCallback() {
    if (this.title_) return;
    this.classList.add("card");
    this.title_ = h("h3", { tabindex: "-1" });
    this.glyph = h("i", { "aria-hidden": "true" });
    this.word = h("span");
    this.chip = h("p", { class: "chip" }, this.glyph, this.word);
    this.facts = h("dl", { class: "facts" });
    this.says = h("p", { class: "says", hidden: true });
    this.slots = SLOTS.map((commands) => this.slot(commands));
    this.more = h("button", { type: "button", text: "⋯" });
    this.more.addEventListener("click", () => showCommands(this.machine));
    this.log = h("button", { type: "button", text: "Log" });
    this.log.addEventListener("click", () => showLog(this.machine));
    this.append(
      h("div", { class: "head" }, this.title_, this.chip),
      this.facts,
      this.says,
      h("div", { class: "row" }, ...this.slots, this.log, this.more),
    );
  }

  slot(commands) {
    const button = h("button", { type: "button" });
    button.verbs = commands;
    button.addEventListener("click", () => this.press(button));
    return button;
  }

  press(button) {
    if (button.hasAttribute("data-rests")) return;
    if (whyOff(button)) return act.off(button);
    const machine = this.machine;
    if (button.verb === "wipe") return wipe(machine);
    act.machine(button.verb, machine.id);
  }

  focusTitle() {
    this.title_.focus();
    this.scrollIntoView({ block: "nearest" });
  }

  update(machine, facts, off) {
    this.machine = machine;
    const [glyph, name, tone] = STATES[machine.state] ?? ["?", machine.state, "wait"];
    set(this, "data-tone", tone);
    set(this, "data-state", machine.state);
    set(this, "id", machine.id);
    say(this.title_, machine.id);
    set(this.chip, "data-tone", tone);
    say(this.glyph, glyph);
    say(this.word, machine.busy ? `${name}, ${machine.busy}…` : name);
    keyed(this.facts, facts, (fact) => fact.name, makeFact, updateFact);
    say(this.says, machine.says ?? "");
    this.says.hidden = !machine.says;
    for (const button of this.slots) {
      const shown = shownCommand(button.verbs, machine);
      if (button.verb && button.verb !== shown) rest(button);
      button.verb = shown;
      say(button, LABELS[shown]);
      set(button, "data-do", shown);
      set(button, "aria-label", `${LABELS[shown].replace("…", "")} ${machine.id}`);
      enable(button, off ?? machine.can[shown]);
    }
    set(this.more, "aria-label", `Commands of ${machine.id}`);
    set(this.log, "aria-label", `Log of ${machine.id}`);
  }
}
customElements.define("machine-card", MachineCard);

/** The command that a button shows: one that can be given, else the one that fits the state. */
function shownCommand([first, second], machine) {
  if (!second || machine.can[first] === null) return first;
  if (machine.can[second] === null) return second;
  const undone = first === "kill" ? ["down", "wiped", "ended"] : ["paused"];
  return undone.includes(machine.state) ? second : first;
}

function rest(button) {
  set(button, "data-rests", true);
  setTimeout(() => set(button, "data-rests", null), REST);
}

function wipe(machine) {
  const persister = machine.id.startsWith("p");
  const journal = machine.journal_bytes ? ` of ${bytes(machine.journal_bytes)}` : "";
  confirm({
    title: `Wipe ${machine.id}?`,
    deleted: [persister ? `the journal${journal} of ${machine.id}` : `the data of ${machine.id}`],
    stays: [
      persister
        ? "the cluster, and the other persisters' journals"
        : "the journals of all persisters",
    ],
    command: machine.commands?.wipe,
    keep: "Keep it",
    go: `Wipe ${machine.id}`,
    run: () => act.machine("wipe", machine.id),
  });
}

function makeFact(fact) {
  const name = fact.word ? word(fact.word, fact.name) : fact.name;
  return h("div", {}, h("dt", {}, name), h("dd"));
}

function updateFact(element, fact) {
  const value = element.lastElementChild;
  say(value, fact.value);
  // A revision after a restore of etcd has ten digits.
  set(element, "data-long", String(fact.value).length > 10);
  set(value, "title", fact.title);
  set(value, "class", fact.tone);
}

function nodeFacts(node) {
  return [
    { name: "revision", word: "revision", value: number(node.revision) },
    { name: "keys", value: number(node.keys) },
    { name: "hash", word: "hash", value: node.hash?.slice(0, 8) ?? "–", title: node.hash },
  ];
}

function persisterFacts(persister) {
  const behind = persister.lag_revisions > 0;
  const lag =
    persister.lag_revisions === null
      ? "–"
      : `${number(persister.lag_revisions)} · ${(persister.lag_seconds ?? 0).toFixed(1)} s`;
  const sync = persister.fsync_ms === null ? "–" : `${persister.fsync_ms.toFixed(1)} ms`;
  return [
    { name: "on disk up to", word: "watermark", value: number(persister.on_disk_up_to) },
    { name: "behind", value: lag, tone: behind ? "warn" : null },
    { name: "journal", word: "journal", value: bytes(persister.journal_bytes) },
    { name: "last sync", value: sync },
  ];
}

export function renderMachines(state, off) {
  render("nodes", state.nodes, nodeFacts, off);
  render("persisters", state.persisters, persisterFacts, off);
}

function render(id, machines, facts, off) {
  const list = document.getElementById(id);
  for (const ghost of list.querySelectorAll(".ghost")) ghost.remove();
  keyed(
    list,
    machines,
    (machine) => machine.id,
    () => h("machine-card"),
    (card, machine) => {
      // The first update comes before the card is on the page.
      card.connectedCallback();
      card.update(machine, facts(machine), off);
    },
  );
}
