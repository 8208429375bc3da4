// A tour of six steps. Its place and its buttons never move; nothing waits for it.

import { act, tell } from "./actions.js";
import { write } from "./client.js";
import { h, say } from "./dom.js";
import { goTo, isPast } from "./history.js";
import { bringBackKey } from "./return.js";

const KEY = "/greeting";

/** How long a step that is done for you may take. */
const LIMIT = 15_000;

let state = null;
let waiting = [];

/** Resolves when the state is so, or after a while. */
function until(condition) {
  if (state && condition(state)) return Promise.resolve();
  return new Promise((resolve) => {
    const entry = { condition, resolve };
    waiting.push(entry);
    setTimeout(resolve, LIMIT);
  });
}

const machine = (id) => (s) => [...s.nodes, ...s.persisters].find((one) => one.id === id);
const is =
  (id, ...states) =>
  (s) =>
    states.includes(machine(id)(s)?.state);

/** The machine that the second step kills: the leader, or where a cluster is one node, a persister. */
const victim = (s) => s.nodes.find((node) => node.state === "leader")?.id ?? s.persisters.at(-1).id;

const STEPS = [
  {
    title: "Write, and see it on two disks",
    text: () =>
      "Press Write. The answer comes when every persister has the value on its disk, and " +
      "not before.",
    done: (s, begin) => s.writes.durable > begin.writes.durable,
    run: () => write(KEY, "hello", "all"),
  },
  {
    title: "Kill one",
    text: (s) =>
      s.nodes.length > 1
        ? "Kill the leader. The others choose a new one; nothing is lost, and nobody waits long."
        : "Kill a persister. Nothing is lost: the other disk has it all. Start it again, and it " +
          "catches up.",
    done: (s, begin) =>
      ["down", "ended", "starting", "rejoining"].includes(machine(begin.victim)(s)?.state),
    run: async () => act.machine("kill", victim(state)),
  },
  {
    title: "Pause a persister, and write",
    text: () =>
      "Its disk cannot answer now. The write is in effect, but not confirmed, and that is " +
      "just what you are told. Resume it afterwards.",
    done: (s, begin) => s.writes.applied > begin.writes.applied,
    run: async () => {
      for (const { id, can } of state.persisters)
        if (can.start === null) await act.machine("start", id);
      await until((s) => s.persisters.every((one) => ["following", "behind"].includes(one.state)));
      const { id } = state.persisters[0];
      await act.machine("pause", id);
      await until(is(id, "paused"));
      await write(KEY, "while one is paused", "all");
      await act.machine("resume", id);
    },
  },
  {
    title: "Lose everything",
    text: () =>
      "Every process is killed, and the data of all nodes is deleted. Only the journals of " +
      "the persisters are left.",
    done: (s) => s.can.restore === null || s.busy === "restore" || s.proof !== null,
    run: () => act.world("lose"),
  },
  {
    title: "Restore, and read the proof",
    text: () =>
      "A new, empty cluster gets everything back from a journal. Compare keys, hash and " +
      "what you were told about your writes: before and after.",
    done: (s) => s.proof?.equal === true,
    run: () => act.world("restore"),
  },
  {
    title: "Go back in time",
    text: () =>
      "Move the slider of History to an earlier change: there are the keys of then. Bring " +
      "one back with a button.",
    done: () => isPast(),
    run: async () => {
      const before = state.history.count;
      await write(KEY, "a mistake", "all");
      await until((s) => s.history.count > before);
      goTo(before);
      document.getElementById("history").scrollIntoView({ block: "start" });
      await bringBackKey(before, KEY);
    },
  },
];

let step = 0;
let begin = null;
let isDone = false;
let part = null;

const box = () => document.getElementById("tour");

function go(to) {
  step = to;
  begin = state && { ...state, victim: victim(state) };
  isDone = false;
  show();
}

function show() {
  if (!part) return;
  const { title, text } = STEPS[step];
  say(part.count, `${step + 1} of ${STEPS.length}`);
  say(part.title, title);
  say(part.text, state ? text(state) : "");
  say(part.done, isDone ? "✓ That is done." : "");
  part.back.disabled = step === 0;
  say(part.next, step === STEPS.length - 1 ? "End" : "Next");
}

function build() {
  const button = (text, click, attributes = {}) =>
    h("button", {
      type: "button",
      text,
      onclick: click,
      ...attributes,
    });
  part = {
    count: h("p", { class: "small muted" }),
    title: h("h2", { id: "tour-title" }),
    text: h("p", { class: "text" }),
    done: h("p", { class: "done", role: "status" }),
    back: button("Back", () => go(step - 1)),
    run: button("Do it for me", run, { id: "tour-run" }),
    next: button("Next", () => (step + 1 < STEPS.length ? go(step + 1) : close()), {
      id: "tour-next",
    }),
  };
  box().append(
    h("div", { class: "head" }, part.count, button("Leave the tour", close, { class: "small" })),
    part.title,
    part.text,
    part.done,
    h("div", { class: "row" }, part.back, part.run, part.next),
  );
}

async function run() {
  if (!state || part.run.getAttribute("aria-disabled")) return;
  part.run.setAttribute("aria-disabled", "true");
  try {
    await STEPS[step].run();
  } finally {
    part.run.removeAttribute("aria-disabled");
  }
}

function close() {
  box().hidden = true;
  document.body.classList.remove("with-tour");
  tell("The tour is over. It begins again with the button Tour.");
  document.getElementById("open-tour").focus();
}

export function startTour() {
  document.getElementById("open-tour").addEventListener("click", () => {
    if (!part) build();
    box().hidden = false;
    document.body.classList.add("with-tour");
    go(0);
    part.next.focus();
  });
}

export function renderTour(news) {
  state = news;
  const ready = waiting.filter((entry) => entry.condition(state));
  waiting = waiting.filter((entry) => !ready.includes(entry));
  for (const entry of ready) entry.resolve();
  if (box().hidden || !part) return;
  if (!begin) begin = { ...state, victim: victim(state) };
  if (!isDone && STEPS[step].done(state, begin)) isDone = true;
  show();
}
