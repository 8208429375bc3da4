// How long acknowledgements took in the last minute, by what became of the writes.

import { h, keyed, millis, number, say, set } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const SECONDS = 60;
const WIDTH = 600;
const HEIGHT = 120;

/** The shortest and longest time that the plot shows, in milliseconds; its scale is logarithmic. */
const LEAST = 0.5;
const MOST = 5000;

const GRID = [1, 10, 100, 1000];
const CLASSES = [
  ["durable", "✓", "durable", "ok"],
  ["applied", "◐", "not confirmed", "warn"],
  ["refused", "✕", "refused", "bad"],
  ["unknown", "?", "unknown", "wait"],
];

function svg(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

const height = (ms) => {
  const within = Math.min(Math.max(ms, LEAST), MOST);
  return HEIGHT * (1 - Math.log(within / LEAST) / Math.log(MOST / LEAST));
};

/** A line through seconds that follow each other; one that stands alone is a dot. */
function path(seconds, name, x) {
  let last = null;
  const steps = [];
  for (const second of seconds) {
    if (second[name] === null) continue;
    const follows = last !== null && second.t - last <= 1500;
    const place = `${x(second).toFixed(1)},${height(second[name]).toFixed(1)}`;
    steps.push(follows ? `L${place}` : `M${place}h4`);
    last = second.t;
  }
  return steps.join("");
}

class AckPlot extends HTMLElement {
  connectedCallback() {
    if (this.picture) return;
    this.picture = svg("svg", {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      preserveAspectRatio: "none",
      role: "img",
    });
    this.shades = svg("g", { class: "shades" });
    this.bars = svg("g", { class: "bars" });
    this.p99 = svg("path", { class: "p99" });
    this.p50 = svg("path", { class: "p50" });
    const grid = GRID.map((ms) =>
      svg("line", { class: "grid", x1: 0, x2: WIDTH, y1: height(ms), y2: height(ms) }),
    );
    this.picture.append(this.shades, ...grid, this.bars, this.p99, this.p50);
    const labels = h(
      "div",
      { class: "scale", "aria-hidden": "true" },
      ...GRID.map((ms) => h("span", { text: ms < 1000 ? `${ms} ms` : "1 s" })),
    );
    [...labels.children].forEach((label, i) => {
      label.style.top = `${(100 * height(GRID[i])) / HEIGHT}%`;
    });
    this.now = h("p", { class: "small muted" });
    this.rows = h("tbody");
    this.table = h(
      "details",
      {},
      h("summary", { text: "as table" }),
      h(
        "div",
        {
          class: "scroll",
          tabindex: "0",
          role: "region",
          "aria-label": "Acknowledgements, second by second",
        },
        h(
          "table",
          {},
          h(
            "thead",
            {},
            h(
              "tr",
              {},
              ...["time", "p50", "p99", ...CLASSES.map(([, , name]) => name), "down"].map((text) =>
                h("th", { scope: "col", text }),
              ),
            ),
          ),
          this.rows,
        ),
      ),
    );
    this.table.addEventListener("toggle", () => this.update(this.seconds));
    const legend = h(
      "p",
      { class: "legend small" },
      ...CLASSES.map(([, glyph, name, tone]) =>
        h(
          "span",
          { "data-tone": tone },
          h("i", { "aria-hidden": "true", text: `${glyph} ` }),
          name,
        ),
      ),
      h("span", { class: "shade", text: "something was down" }),
    );
    this.append(
      h("h3", { text: "Time until a write was acknowledged" }),
      h("div", { class: "plot" }, this.picture, labels),
      this.now,
      legend,
      this.table,
    );
  }

  update(seconds) {
    if (!seconds) return;
    this.seconds = seconds;
    const last = seconds.at(-1);
    const stamp = `${last?.t}/${this.table.open}`;
    if (stamp === this.stamp) return;
    this.stamp = stamp;
    const end = last?.t ?? 0;
    const x = (second) => WIDTH * (1 - (end - second.t) / 1000 / (SECONDS - 1));
    set(this.p50, "d", path(seconds, "p50", x));
    set(this.p99, "d", path(seconds, "p99", x));
    const step = WIDTH / (SECONDS - 1);
    this.shades.replaceChildren(
      ...seconds
        .filter((second) => second.down)
        .map((second) =>
          svg("rect", { x: x(second) - step, y: 0, width: step + 0.5, height: HEIGHT }),
        ),
    );
    this.bars.replaceChildren(...seconds.flatMap((second) => bars(second, x(second), step)));
    this.tell(last, seconds);
  }

  tell(last, seconds) {
    const sum = (name) => seconds.reduce((all, second) => all + second[name], 0);
    const quick =
      last && last.p50 !== null
        ? `p50 ${millis(last.p50)}, p99 ${millis(last.p99)}`
        : "no write in the last second";
    say(this.now, quick);
    set(
      this.picture,
      "aria-label",
      `The last ${seconds.length} seconds: ` +
        `${CLASSES.map(([name, , says]) => `${number(sum(name))} ${says}`).join(", ")}; ${quick}.`,
    );
    if (!this.table.open) return;
    keyed(
      this.rows,
      [...seconds].reverse(),
      (second) => second.t,
      (second) =>
        h(
          "tr",
          {},
          ...[
            new Date(second.t).toLocaleTimeString("en-GB"),
            millis(second.p50),
            millis(second.p99),
            ...CLASSES.map(([name]) => number(second[name])),
            second.down ? "yes" : "",
          ].map((text) => h("td", { text })),
        ),
    );
  }
}
customElements.define("ack-plot", AckPlot);

/** What did not go well, as bars from the bottom: a class each, as high as its share. */
function bars(second, x, step) {
  const total = CLASSES.reduce((all, [name]) => all + second[name], 0);
  let bottom = HEIGHT;
  return CLASSES.slice(1)
    .filter(([name]) => second[name] > 0)
    .map(([name, , , tone]) => {
      const tall = Math.max(6, (HEIGHT * 0.6 * second[name]) / total);
      bottom -= tall;
      return svg("rect", {
        class: tone,
        x: x - step * 0.8,
        y: bottom,
        width: step * 0.8,
        height: tall,
      });
    });
}
