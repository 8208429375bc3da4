// Every noun has its meaning within reach: a button that opens two sentences.

import { h } from "./dom.js";

const MEANINGS = {
  revision: [
    "Revision",
    "The cluster's own counter. Every write takes the next number, and a key " +
      "remembers the one that wrote it.",
  ],
  leader: ["Leader", "The node that orders all writes. If it dies, the others choose another one."],
  majority: [
    "Majority",
    "More than half of the nodes. Without it a cluster takes no writes, lest " +
      "two halves go two ways.",
  ],
  persister: [
    "Persister",
    "A program beside the cluster. It watches every change, writes it to a " +
      "disk of its own, and then says so inside the cluster.",
  ],
  journal: [
    "Journal",
    "The persister's files: every change, checksummed, in the order in which " +
      "the cluster made it.",
  ],
  watermark: [
    "On disk up to",
    "Everything until this revision survives, even if all nodes die now.",
  ],
  hash: [
    "Hash",
    "A fingerprint of all keys and values. Two with the same fingerprint hold the " + "same.",
  ],
  hashkv: [
    "HashKV",
    "etcd's own fingerprint, of every revision of every key since the last compaction. Members " +
      "that say the same at the same revision have the same history.",
  ],
  unconfirmed: [
    "In effect, not confirmed",
    "Every reader sees the value, but not enough disks " +
      "have said in time that they hold it. A loss right now could take it.",
  ],
};

/** A word that can be asked for its meaning. */
export function word(name, label = MEANINGS[name][0].toLowerCase()) {
  const button = h("button", {
    type: "button",
    class: "word",
    text: label,
    popovertarget: `word-${name}`,
  });
  button.addEventListener("click", () => {
    meaning(name).opener = button;
  });
  return button;
}

function meaning(name) {
  const id = `word-${name}`;
  const had = document.getElementById(id);
  if (had) return had;
  const [title, text] = MEANINGS[name];
  const box = h(
    "div",
    { id, popover: "auto", class: "meaning" },
    h("strong", { text: title }),
    h("p", { text }),
  );
  box.addEventListener("toggle", (event) => event.newState === "open" && place(box));
  document.getElementById("words").append(box);
  return box;
}

/** Below the word, within the window. */
function place(box) {
  if (!box.opener) return;
  const { left, bottom, top } = box.opener.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = box;
  const below = bottom + 8 + height <= innerHeight;
  box.style.left = `${Math.max(8, Math.min(left, innerWidth - width - 8))}px`;
  box.style.top = `${below ? bottom + 8 : Math.max(8, top - height - 8)}px`;
}

/** Makes every meaning, and the words that stand in the page's own text. */
export function startWords() {
  for (const name of Object.keys(MEANINGS)) meaning(name);
}
