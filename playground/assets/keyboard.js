// Single keys. They can be switched off, and never act in fields or dialogs.

import { goTo, isPast, step } from "./history.js";
import { isOpen, showKeys } from "./dialogs.js";

const KEYS = [
  ["1 … 5", "to node n1 … n5"],
  ["Shift 1 … 5", "to persister p1 … p5"],
  ["W", "to the form that writes"],
  ["L", "lose everything (asks)"],
  ["R", "restore"],
  [", and .", "one change back, one forward"],
  ["Home and End", "on the slider: first change, now"],
  ["Esc", "back to live; closes what is open"],
  ["?", "this list"],
];

const STORED = "cairn-playground-letters";

let areOn = localStorage.getItem(STORED) !== "off";

function turn(on) {
  areOn = on;
  localStorage.setItem(STORED, on ? "on" : "off");
}

export const openKeys = () => showKeys(KEYS, areOn, turn);

const press = (id) => document.getElementById(id).click();

const LETTERS = {
  w: () => document.getElementById("key").focus(),
  l: () => press("lose"),
  r: () => press("restore"),
  ",": () => step(-1),
  ".": () => step(1),
  "?": openKeys,
};

function isTyping(target) {
  return Boolean(
    target.closest?.(
      "input:not([type=range]):not([type=radio]):not([type=checkbox])" +
        ", textarea, select, [contenteditable]",
    ),
  );
}

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || isOpen()) return;
  if (event.key === "Escape" && isPast() && !document.querySelector(":popover-open")) {
    goTo(null);
    return;
  }
  if (!areOn || isTyping(event.target)) return;
  const digit = /^Digit([1-5])$/.exec(event.code);
  const card = digit && document.getElementById(`${event.shiftKey ? "p" : "n"}${digit[1]}`);
  const letter = digit ? null : LETTERS[event.key.toLowerCase()];
  if (card?.focusTitle) card.focusTitle();
  else if (letter) letter();
  else return;
  event.preventDefault();
}

export function startKeyboard() {
  document.addEventListener("keydown", pressed);
  document.getElementById("open-keys").addEventListener("click", openKeys);
}
