// What the server knows of the past, asked for no faster than it answers.

import { get, Refused } from "./api.js";

/**
 * Runs one question at a time: while one is under way only the last of the others is kept. So a
 * slider may move as fast as it likes.
 */
export function latest(ask, answer, failed) {
  let running = false;
  let next = null;
  return async function run(question) {
    if (running) {
      next = { question };
      return;
    }
    running = true;
    try {
      const got = await ask(question);
      if (next === null) answer(got, question);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (next === null) failed?.(error, question);
    } finally {
      running = false;
    }
    if (next !== null) {
      const { question: again } = next;
      next = null;
      run(again);
    }
  };
}

/** One change by its index, and all markers. */
export const changeAt = (index) => get("changes", { from: index, count: 1 });

export const PAGE = 100;

/** The keys after a change (`now` for the cluster), one page of them. */
export const keysAt = ({ at, prefix, after }) => get("keys", { at, prefix, after, count: PAGE });

export const between = ({ from, to }) => get("diff", { from, to });

/** A value as text; what is no text is shown as base64. */
export function shown(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "string") return value;
  return value.base64 !== undefined ? `base64 ${value.base64}` : String(value);
}
