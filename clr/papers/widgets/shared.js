// What the widgets share: how numbers are written, axes, and the start of a widget.
"use strict";
const LETTERS = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"};
const text = value => String(value).replace(/[&<>"]/g, letter => LETTERS[letter]);
const whole = n => Math.round(n).toLocaleString("en-US");
const short = (x, digits = 3) => String(Number(x.toPrecision(digits)));
const percent = (x, digits = 1) => (100 * x).toFixed(digits) + "\u00a0%";

// Steps of 1, 2 or 5 times a power of ten from low to high, about as many as asked for.
function ticks(low, high, about) {
  const rough = (high - low) / about, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(m => m * power).find(s => s >= rough * (1 - 1e-9));
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++)
    found.push(Number((i * step).toPrecision(12)));
  return found;
}

const line = points =>
  "M" + points.map(([x, y]) => x.toFixed(1) + " " + y.toFixed(1)).join("L");

// A coordinate system: {left, top, width, height, x: [low, high], y: [low, high]} in pixels and
// in units, with functions that write the numbers at the axes. `draw()` is its SVG.
function panel({left, top, width, height, x, y, xText, yText, xName = "", yName = "", xTicks}) {
  const X = v => left + width * (v - x[0]) / (x[1] - x[0]);
  const Y = v => top + height * (1 - (v - y[0]) / (y[1] - y[0]));
  const label = (at, down, anchor, words, kind = "") =>
    `<text x="${at.toFixed(1)}" y="${down.toFixed(1)}" text-anchor="${anchor}" class="${kind}">${text(words)}</text>`;
  const draw = () => {
    const parts = [];
    for (const v of ticks(y[0], y[1], Math.max(2, height / 48)))
      parts.push(`<path class="grid" d="M${left} ${Y(v).toFixed(1)}h${width}"/>`,
        label(left - 8, Y(v) + 4, "end", yText(v)));
    if (xText)
      for (const v of xTicks || ticks(x[0], x[1], Math.max(3, width / 110)))
        parts.push(label(X(v), top + height + 18, "middle", xText(v)));
    if (xText) parts.push(label(left + width, top + height + 36, "end", xName, "name"));
    parts.push(label(left, top - 10, "start", yName, "name"));
    return parts.join("");
  };
  return {X, Y, left, top, width, height, draw};
}

// Native inputs with their labels.
function slider(key, name, {min, max, step, value}) {
  return `<label class="clr-slider"><span>${text(name)} <b data-shown="${key}"></b></span>
    <input type="range" data-key="${key}" min="${min}" max="${max}" step="${step}" value="${value}"></label>`;
}

function icon(path, colour) {
  return `<svg class="clr-icon" width="64" height="24" viewBox="0 0 64 24" aria-hidden="true"
    ><path d="${path}" style="stroke:${colour || "currentColor"}"/></svg>`;
}

// A group of choices: {value, name, icon, colour}; `type` is "radio" or "checkbox".
function choices(uid, key, legend, options, chosen, type = "radio") {
  const one = o => `<label class="clr-chip"${o.colour ? ` style="--c:${o.colour}"` : ""}
    ><input type="${type}" name="${uid}-${key}" data-key="${key}" value="${text(o.value)}"
    ${chosen.includes(o.value) ? "checked" : ""}>${o.icon ? icon(o.icon, o.colour) : ""}<span>${text(o.name)}</span></label>`;
  return `<fieldset data-group="${key}"><legend>${text(legend)}</legend>${options.map(one).join("")}</fieldset>`;
}

// Draw again when the width has changed, at most once per frame.
function fit(element, draw) {
  let width = 0;
  new ResizeObserver(() => {
    const now = Math.floor(element.clientWidth);
    if (now && now !== width) { width = now; draw(); }
  }).observe(element);
}

function begin(root, start) {
  root.dataset.started = "";
  const live = root.querySelector(".clr-live");
  const data = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
  start(live, data, "clr" + Math.random().toString(36).slice(2));
  // JupyterLab leaves the keys of an element with this attribute to the element.
  for (const each of live.querySelectorAll("input, select, button"))
    each.dataset.lmSuppressShortcuts = "true";
  root.querySelector(".clr-still").remove();
}
