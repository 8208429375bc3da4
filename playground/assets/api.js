// The playground's server: calls, and one stream of events that comes back by itself.
//
// The key stands behind the # of the link, so no server and no log ever sees it there. It moves
// from the address to this tab's storage, and goes out in a header alone.

const STORED = "cairn-playground-key";

function takeKey() {
  const key = location.hash.slice(1);
  if (key) {
    sessionStorage.setItem(STORED, key);
    history.replaceState(null, "", location.pathname + location.search);
  }
  return sessionStorage.getItem(STORED) ?? "";
}

let key = takeKey();

/** The server took the question and has a sentence against it. */
export class Refused extends Error {
  constructor(status, says) {
    super(says);
    this.status = status;
  }
}

async function call(path, options = {}) {
  const headers = { Authorization: `Bearer ${key}` };
  if (options.body) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(`/api/${path}`, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The playground does not answer.");
  }
  if (response.ok) return response;
  let says = `The playground answers with status ${response.status}.`;
  try {
    says = (await response.json()).error ?? says;
  } catch {
    // No sentence: the status has to do.
  }
  throw new Refused(response.status, says);
}

export async function get(path, query = {}, signal = undefined) {
  const text = new URLSearchParams(query).toString();
  return (await call(text ? `${path}?${text}` : path, { signal })).json();
}

export async function post(path, body) {
  return (await call(path, { method: "POST", body: JSON.stringify(body) })).json();
}

const PAUSE_FIRST = 250;
const PAUSE_LONGEST = 4000;

/** Silence after which a stream counts as lost: the server says something every 5 s. */
const SILENCE_LONGEST = 8000;

/**
 * Reads events for ever, and tells `on[event](data)`; `on.live(true | false | "key")` tells what
 * became of the stream. A page that nobody looks at has no stream, and costs nothing.
 */
export async function follow(on) {
  let pause = PAUSE_FIRST;
  for (;;) {
    await visible();
    const end = new AbortController();
    const hide = () => document.hidden && end.abort();
    document.addEventListener("visibilitychange", hide);
    let became = false;
    try {
      await read(end, on, () => {
        pause = PAUSE_FIRST;
        on.live(true);
      });
    } catch (error) {
      if (error.status === 401) became = "key";
    }
    document.removeEventListener("visibilitychange", hide);
    end.abort();
    if (document.hidden) continue;
    on.live(became);
    await new Promise((resolve) => setTimeout(resolve, pause));
    pause = Math.min(pause * 2, PAUSE_LONGEST);
    key = takeKey();
  }
}

function visible() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => {
    const look = () => {
      if (document.hidden) return;
      document.removeEventListener("visibilitychange", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
  });
}

async function read(end, on, begun) {
  let silence = setTimeout(() => end.abort(), SILENCE_LONGEST);
  try {
    const response = await call("events", { signal: end.signal });
    begun();
    let rest = "";
    for await (const piece of pieces(response.body.pipeThrough(new TextDecoderStream()))) {
      clearTimeout(silence);
      silence = setTimeout(() => end.abort(), SILENCE_LONGEST);
      const blocks = (rest + piece).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) dispatch(block, on);
    }
  } finally {
    clearTimeout(silence);
  }
}

async function* pieces(stream) {
  const reader = stream.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    yield value;
  }
}

function dispatch(block, on) {
  let event = "message";
  const data = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) event = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
  }
  if (data.length > 0) on[event]?.(JSON.parse(data.join("\n")));
}
