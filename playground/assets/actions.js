// What a person can do to the playground. Every outcome is one sentence under the story.

import { post, Refused } from "./api.js";
import { say, set, whyOff } from "./dom.js";

/** Tells what came of it. Spoken once: the same sentence again is no news. */
export function tell(sentence, tone = "plain") {
  const said = document.getElementById("said");
  set(said, "data-tone", tone);
  say(said, sentence);
}

async function command(body) {
  try {
    return await post("do", body);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    tell(error.message, error.status === 409 ? "warn" : "bad");
    return null;
  }
}

export const act = {
  machine: (verb, id) => command({ do: verb, id }),
  world: (verb) => command({ do: verb }),
  load: (rate) => command({ do: "load", rate }),
  /** Says why a button is off. */
  off: (button) => tell(`${button.textContent.replace("…", "")}: ${whyOff(button)}.`, "warn"),
};
