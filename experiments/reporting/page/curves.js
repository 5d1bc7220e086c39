"use strict";
// Charts of metrics.csv. This file stands before script.js in the page and uses its helpers.

const WIDTH = 360, HEIGHT = 190, LEFT = 46, RIGHT = 8, TOP = 8, BOTTOM = 22;

function short(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(1).replace("e+", "e");
  return String(Number(value.toPrecision(4)));
}

// An exponential mean as in TensorBoard, without the bias towards its start.
function smooth(values, weight) {
  let [sum, total] = [0, 0];
  return values.map((value) => {
    if (value === null) return null;
    sum = weight * sum + (1 - weight) * value;
    total = weight * total + (1 - weight);
    return sum / total;
  });
}

function ticks(low, high, logarithmic) {
  if (logarithmic) {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      for (const factor of [1, 2, 5]) found.push(factor * 10 ** power);
    }
    const inside = found.filter((value) => value >= low && value <= high);
    if (inside.length > 5) return inside.filter((value) => /^1(e|0*$|\.?0*$)|^0\.0*1$/.test(String(value)));
    if (inside.length > 1) return inside;
  }
  const raw = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(raw));
  const size = power * [1, 2, 2.5, 5, 10].find((factor) => factor * power >= raw);
  const found = [];
  for (let value = Math.ceil(low / size) * size; value <= high + size * 1e-9; value += size) {
    found.push(Number(value.toPrecision(12)));
  }
  return found;
}

class Chart {
  constructor(data, parts, settings) {
    Object.assign(this, { data, parts, settings });
    this.svg = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, tabindex: 0, role: "img" });
    this.tip = make("div", { class: "tip", hidden: "" });
    this.node = make("figure", { class: "chart", "data-key": data.key });
    this.node.append(make("figcaption", {}, data.label), this.svg, this.tip);
    this.svg.addEventListener("pointermove", (event) => this.point(event));
    this.svg.addEventListener("pointerleave", () => this.leave());
    this.svg.addEventListener("blur", () => this.leave());
    this.svg.addEventListener("keydown", (event) => this.key(event));
    this.steps = unique(data.lines.flatMap((line) => line[1])).sort((a, b) => a - b);
    this.at = null;
    this.draw();
  }

  draw() {
    const { smoothing, logarithmic, hidden } = this.settings;
    const log = logarithmic && this.data.log;
    const smoothed = smoothing > 0 && !this.data.key.startsWith("val/");
    this.lines = this.data.lines
      .map(([part, steps, values]) => ({
        part: this.parts[part], steps, raw: values,
        values: smoothed ? smooth(values, smoothing) : values,
      }))
      .filter((line) => !hidden.has(line.part.name));
    const values = this.lines.flatMap((line) => line.raw).filter((value) => value !== null);
    this.svg.replaceChildren();
    this.leave();
    const names = unique(this.lines.map((line) => line.part.name));
    this.svg.setAttribute("aria-label", `${this.data.label} of ${names.join(", ")}`);
    if (!values.length) return;
    let [low, high] = [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
    if (low === high) [low, high] = log ? [low / 1.5, high * 1.5] : [low - (Math.abs(low) || 1) * 0.1, high + (Math.abs(high) || 1) * 0.1];
    const scale = log ? Math.log10 : (value) => value;
    const margin = (scale(high) - scale(low)) * 0.05;
    const [from, to] = [scale(low) - margin, scale(high) + margin];
    const [first, last] = [this.steps[0], this.steps.at(-1)];
    this.x = (step) => LEFT + ((step - first) / (last - first || 1)) * (WIDTH - LEFT - RIGHT);
    this.y = (value) => HEIGHT - BOTTOM - ((scale(value) - from) / (to - from)) * (HEIGHT - TOP - BOTTOM);
    for (const value of ticks(low, high, log)) {
      const y = this.y(value);
      this.svg.append(make("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y, y2: y, class: "grid" }));
      this.svg.append(make("text", { x: LEFT - 6, y: y + 3.5, "text-anchor": "end" }, short(value)));
    }
    for (const step of unique([first, Math.round((first + last) / 2), last])) {
      const anchor = step === last && step !== first ? "end" : step === first ? "start" : "middle";
      this.svg.append(make("text", { x: this.x(step), y: HEIGHT - 6, "text-anchor": anchor }, `${step === last ? "step " : ""}${step}`));
    }
    for (const line of this.lines) {
      if (smoothed) this.path(line, line.raw, "raw");
      this.path(line, line.values, "line");
    }
    this.marks = this.svg.appendChild(make("g"));
  }

  path(line, values, kind) {
    let [text, pen, alone] = ["", false, 0];
    values.forEach((value, i) => {
      if (value === null) { pen = false; return; }
      text += `${pen ? "L" : "M"}${this.x(line.steps[i]).toFixed(1)} ${this.y(value).toFixed(1)}`;
      [pen, alone] = [true, alone + 1];
    });
    const dashed = line.part.place >= 10 ? " dashed" : "";
    const classes = `${kind} c${line.part.place % 10}${dashed}`;
    this.svg.append(make("path", { d: text, class: classes, "data-name": line.part.name, "data-seed": line.part.seed }));
    if (kind === "line" && alone < 12) {
      values.forEach((value, i) => {
        if (value !== null) this.svg.append(make("circle", { cx: this.x(line.steps[i]), cy: this.y(value), r: 2.2, class: classes }));
      });
    }
  }

  point(event) {
    const box = this.svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * WIDTH;
    if (!this.x || !this.lines.length) return;
    const near = (a, b) => (Math.abs(this.x(a) - x) <= Math.abs(this.x(b) - x) ? a : b);
    this.show(this.steps.reduce(near));
  }

  key(event) {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!move || !this.lines.length) return;
    event.preventDefault();
    const now = this.at === null ? (move > 0 ? -1 : this.steps.length) : this.steps.indexOf(this.at);
    this.show(this.steps[Math.min(Math.max(now + move, 0), this.steps.length - 1)]);
  }

  show(step) {
    this.at = step;
    const x = this.x(step);
    this.marks.replaceChildren(make("line", { x1: x, x2: x, y1: TOP, y2: HEIGHT - BOTTOM, class: "cursor" }));
    this.tip.replaceChildren(make("b", {}, `step ${step}`));
    for (const line of this.lines) {
      const value = line.values[line.steps.indexOf(step)];
      if (value === undefined || value === null) continue;
      const colour = `c${line.part.place % 10}`;
      this.marks.append(make("circle", { cx: x, cy: this.y(value), r: 3.4, class: colour }));
      const name = `${line.part.name} ${line.part.seed}`.trim();
      this.tip.append(make("div", {}, make("i", { class: colour }), `${name} ${short(value)}`));
    }
    this.tip.hidden = false;
    const half = x > WIDTH / 2;
    this.tip.style.left = half ? "3.2rem" : "auto";
    this.tip.style.right = half ? "auto" : "0.4rem";
  }

  leave() {
    this.at = null;
    this.tip.hidden = true;
    if (this.marks) this.marks.replaceChildren();
  }
}

function startCurves({ parts, charts }) {
  const settings = { smoothing: 0, logarithmic: true, hidden: new Set() };
  const drawn = [];
  const redraw = () => drawn.forEach((chart) => chart.draw());
  const fillGroup = (place) => {
    for (const data of charts.filter((each) => each.group === place.dataset.group)) {
      const chart = new Chart(data, parts, settings);
      drawn.push(chart);
      place.append(chart.node);
    }
  };
  for (const place of document.querySelectorAll(".charts")) {
    const fold = place.closest("details"); // what is folded is drawn when it is opened
    if (fold) fold.addEventListener("toggle", () => place.children.length || fillGroup(place));
    else fillGroup(place);
  }
  const legend = document.querySelector(".legend");
  const used = new Set(charts.flatMap((chart) => chart.lines.map((line) => parts[line[0]].name)));
  for (const name of used) {
    const { place } = parts.find((part) => part.name === name);
    const button = make("button", { type: "button", class: `c${place % 10}`, "aria-pressed": true }, name);
    button.addEventListener("click", () => {
      const on = settings.hidden.delete(name) || (settings.hidden.add(name), false);
      button.setAttribute("aria-pressed", on);
      redraw();
    });
    legend.append(button);
  }
  legend.hidden = legend.children.length < 2;
  const smoothing = byId("smoothing");
  smoothing.addEventListener("input", () => {
    settings.smoothing = Number(smoothing.value);
    smoothing.parentNode.querySelector("output").textContent = smoothing.value;
    redraw();
  });
  byId("logarithmic").addEventListener("change", (event) => {
    settings.logarithmic = event.target.checked;
    redraw();
  });
}
