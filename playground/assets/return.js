// From the past into the living cluster: try it out, rehearse it, or do it.

import { tell } from "./actions.js";
import { post, Refused } from "./api.js";
import { showReport } from "./dialogs.js";
import { number } from "./dom.js";

async function ask(at, mode, { prefix = null, seen = null } = {}) {
  tell("Asking the journal…");
  try {
    const answer = await post("restore", { at, mode, prefix, seen });
    tell(answer.says.split("\n")[0], "ok");
    return answer;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    tell(error.message, error.status === 409 ? "warn" : "bad");
    return null;
  }
}

/** Brings one key back, as it was after a change. */
export const bringBackKey = (at, key) => ask(at, "merge", { prefix: key });

/** Asks, and shows the answer; `go` makes the next step of it. */
async function report(title, at, mode, go = null, seen = null) {
  const answer = await ask(at, mode, { seen });
  if (answer) showReport(title, answer, go && { ...go, run: () => go.run(answer) });
}

/** The buttons for the moment that `at()` tells. */
export function restoreButtons(parent, button, at) {
  const moment = () => `change ${number(at())}`;
  const bringBack = () => {
    const then = at();
    report(`Bring back ${moment()} into the cluster?`, then, "merge-forecast", {
      label: "Bring it back",
      run: () => report("Brought back", then, "merge"),
    });
  };
  const asNew = () => {
    const then = at();
    const title = `Give ${moment()} back as a new revision?`;
    report(title, then, "as-new-revision-forecast", {
      label: "Give it back",
      // What was written since this look stays, and is named.
      run: ({ report: { counter } }) =>
        report("Given back", then, "as-new-revision", null, counter),
    });
  };
  parent.append(
    button("What would a restore do?", () => report(`A restore of ${moment()}`, at(), "forecast")),
    button("Rehearse in a second cluster", () =>
      report(`Rehearsal of ${moment()}`, at(), "rehearse"),
    ),
    button("Bring back into the cluster…", bringBack, { id: "bring-back" }),
    button("Give back as a new revision…", asNew, { id: "give-back" }),
  );
}
