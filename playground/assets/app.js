// The page: one snapshot of the world comes in, and everything is shown from it.

import { act, tell } from "./actions.js";
import { follow } from "./api.js";
import { renderClient, startClient } from "./client.js";
import { confirm } from "./dialogs.js";
import { bytes, commandLine, enable, h, keyed, number, plural, say, set, whyOff } from "./dom.js";
import { addLine, startFeed } from "./feed.js";
import { historyIsStale, renderHistory, startHistory } from "./history.js";
import { startKeyboard } from "./keyboard.js";
import { renderMachines } from "./machines.js";
import "./plot.js";
import { renderProof } from "./proof.js";
import { renderTour, startTour } from "./tour.js";
import { startWords, word } from "./words.js";

const byId = (id) => document.getElementById(id);

const NO_ANSWER = "the playground does not answer";
const LAST_WORDS = "The playground does not answer. Below is the last that it said.";
const NO_KEY = "Open the link that the terminal shows: it carries the key to this playground.";

let state = null;

/** What became of the stream: glyph, word and tone. */
const LIVE = new Map([
  [null, ["◐", "connecting", "wait"]],
  [true, ["●", "live", "ok"]],
  [false, ["✕", NO_ANSWER, "bad"]],
  ["key", ["✕", "no key, or a wrong one", "bad"]],
]);

/** `null` while nothing has been heard, then `true`, `false`, or `"key"` for a wrong one. */
let live = null;

function render() {
  renderLive();
  if (!state) return;
  const off = live === true ? null : NO_ANSWER;
  renderRun(state.run);
  renderStory(off);
  renderProof(state.proof);
  renderMachines(state, off);
  renderClient(state, off);
  document.querySelector("ack-plot").update(state.latency);
  renderHistory(state, off);
  renderTour(state);
}

function renderLive() {
  const [glyph, text, tone] = LIVE.get(live);
  const chip = byId("live");
  set(chip, "data-tone", tone);
  say(chip.querySelector("i"), glyph);
  say(chip.querySelector("span"), text);
  document.body.classList.toggle("is-lost", live === false && state !== null);
  const wall = byId("wall");
  wall.hidden = live !== "key";
  byId("main").hidden = live === "key";
  say(wall, live === "key" ? NO_KEY : "");
}

let isFirst = true;

function renderRun(run) {
  document.body.classList.toggle("is-drill", run.drill !== null);
  // Beside other columns one node leaves room for it.
  if (isFirst) byId("own").open = state.nodes.length === 1 && innerWidth > 960;
  isFirst = false;
  say(byId("kept"), run.engine === "etcd" ? "replicated" : "in memory");
  const engine = run.engine === "etcd" ? `etcd ${run.engine_version ?? ""}`.trim() : run.engine;
  say(
    byId("run"),
    [
      `${state.nodes.length} × ${engine}`,
      plural(state.persisters.length, "persister"),
      "on this computer",
      run.drill && `drill ${run.drill}`,
    ]
      .filter(Boolean)
      .join(" · "),
  );
  say(
    byId("about"),
    run.drill
      ? `Cairn ${run.version}. A drill does everything by itself; this page watches.`
      : `Cairn ${run.version}. Everything is in ${run.directory}, and goes when the ` +
          "playground ends.",
  );
  note("missing", run.missing);
  note(
    "in-memory",
    run.in_memory
      ? "This journal is in memory: a sync of the disk costs nothing " +
          "here, and the machine's own power cut would take it."
      : null,
  );
  byId("client-command").command = run.client_command;
  byId("uri").command = run.uri;
}

function note(id, text) {
  byId(id).hidden = !text;
  say(byId(id), text ?? "");
}

let figures = null;

function renderStory(off) {
  set(byId("story"), "data-tone", off ? "bad" : state.story.tone);
  say(byId("says"), off ? LAST_WORDS : state.story.says);
  if (!figures) {
    figures = { keys: h("b"), unit: h("span"), hash: h("b"), revision: h("b") };
    figures.kv = { hash: h("b"), rest: h("span") };
    figures.agreed = h("span", {}, word("hashkv", "HashKV"), " ", figures.kv.hash, " ", figures.kv.rest);
    byId("figures").append(
      h("span", {}, figures.keys, " ", figures.unit),
      h("span", {}, word("hash"), " ", figures.hash),
      h("span", {}, word("revision"), " ", figures.revision),
      figures.agreed,
    );
  }
  const { agreed } = state.cluster;
  figures.agreed.hidden = agreed === null;
  if (agreed) {
    say(figures.kv.hash, String(agreed.hash));
    say(figures.kv.rest, `at ${number(agreed.revision)} on ${plural(agreed.members, "member")}`);
  }
  const { keys, hash, revision } = state.cluster;
  say(figures.keys, number(keys));
  say(figures.unit, keys === 1 ? "key" : "keys");
  say(figures.hash, hash ?? "–");
  say(figures.revision, number(revision));
  for (const name of ["power-cut", "lose", "restore"]) {
    const button = byId(name);
    enable(button, off ?? state.can[name]);
    set(button, "data-busy", state.busy === name);
  }
  const calls = off === null && state.can.restore === null && state.story.tone === "bad";
  byId("restore").classList.toggle("call", calls);
  const commands = Object.entries(state.commands ?? {}).filter(([, command]) => command);
  byId("by-hand").hidden = commands.length === 0;
  keyed(
    byId("by-hand").querySelector("dl"),
    commands,
    ([name]) => name,
    ([name]) =>
      h("div", {}, h("dt", { text: name.replace("-", " ") }), h("dd", {}, commandLine(""))),
    (element, [, command]) => {
      element.querySelector("command-line").command = command;
    },
  );
}

const ids = (machines) => machines.map(({ id }) => id).join(", ");

function journals() {
  const size = state.persisters.reduce((all, { journal_bytes: one }) => all + (one ?? 0), 0);
  return `the journals of ${ids(state.persisters)} on disk (${bytes(size)})`;
}

function powerCut() {
  confirm({
    title: "Cut the power?",
    deleted: [
      `every process, at once: ${ids([...state.nodes, ...state.persisters])}`,
      "whatever the nodes hold in memory alone",
    ],
    stays: [state.run.engine === "etcd" ? "the disks of all nodes" : null, journals()].filter(
      Boolean,
    ),
    command: state.commands?.["power-cut"],
    keep: "Leave it on",
    go: "Cut the power",
    run: () => act.world("power-cut"),
  });
}

function lose() {
  confirm({
    title: "Lose everything?",
    deleted: [
      `every process, at once: ${ids([...state.nodes, ...state.persisters])}`,
      `the data of all nodes: ${plural(state.cluster.keys ?? 0, "key")}`,
    ],
    stays: [journals()],
    command: state.commands?.lose,
    keep: "Keep everything",
    go: "Lose everything",
    run: () => act.world("lose"),
  });
}

function startStory() {
  const start = (id, run) =>
    byId(id).addEventListener("click", () => {
      if (whyOff(byId(id))) act.off(byId(id));
      else run();
    });
  start("power-cut", powerCut);
  start("lose", lose);
  start("restore", () => act.world("restore"));
}

const THEMES = [
  ["", "◐", "as the system has them"],
  ["light", "☀", "light"],
  ["dark", "☾", "dark"],
];
const STORED_THEME = "cairn-playground-theme";

function startTheme() {
  let at = Math.max(
    0,
    THEMES.findIndex(([name]) => name === localStorage.getItem(STORED_THEME)),
  );
  const show = () => {
    const [name, glyph, says] = THEMES[at];
    set(document.documentElement, "data-theme", name || null);
    say(byId("theme").querySelector("i"), glyph);
    set(byId("theme"), "aria-label", `Colours: ${says}`);
    localStorage.setItem(STORED_THEME, name);
  };
  byId("theme").addEventListener("click", () => {
    at = (at + 1) % THEMES.length;
    show();
  });
  show();
}

startTheme();
startWords();
startStory();
startClient();
startHistory();
startFeed(() => state);
startTour();
startKeyboard();

follow({
  live: (news) => {
    live = news;
    render();
  },
  state: (news) => {
    // Nothing is known yet while everything starts.
    if (!news.run) return;
    state = news;
    render();
  },
  line: (line) => {
    addLine(line);
    historyIsStale();
  },
  done: ({ ok, says }) => tell(says, ok ? "ok" : "bad"),
});
