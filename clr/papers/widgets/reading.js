// Read the range test: the reader drags two bounds, then sees the other readings.
function start(live, data, uid) {
  const highest = data.end, names = ["base_lr", "max_lr"];
  const bounds = [highest / 4, 3 * highest / 4];
  let revealed = false;

  live.innerHTML = `
    <p class="clr-hint">${text(data.hint)}</p>
    <div class="clr-chart"><svg role="img" aria-describedby="${uid}-said"></svg></div>
    <div class="clr-bounds">${names.map((name, i) => slider(name, name, {min: 0, max: highest, step: highest / 400, value: bounds[i]})).join("")}</div>
    <div class="clr-actions"><button type="button" aria-expanded="false">Compare with the other readings</button></div>
    <output class="clr-said" id="${uid}-said" aria-live="polite"></output>
    <p class="clr-note">${text(data.note)}</p>`;
  const find = selector => live.querySelector(selector);
  const svg = find("svg"), inputs = [...live.querySelectorAll("input")];

  function draw() {
    const width = Math.floor(find(".clr-chart").clientWidth);
    if (!width) return;
    const rows = revealed ? [{name: "you", bounds, kind: "you"}, ...data.readings] : [];
    const height = 240, every = 26;
    svg.setAttribute("width", width);
    svg.setAttribute("height", height + 96 + rows.length * every + (revealed ? 14 : 0));
    const all = data.curves.flatMap(curve => curve.accuracy);
    const top = Math.ceil(10 * Math.max(...all)) / 10;
    const axes = panel({left: 48, top: 54, width: width - 64, height, x: [0, highest], y: [0, top],
      xText: x => short(x), yText: y => percent(y, 0), xName: "learning rate", yName: ""});
    const {X, Y} = axes;
    find(".clr-bounds").style.margin = "0 8px 0 40px";
    const path = curve => line(curve.lr.map((lr, i) => [X(lr), Y(curve.accuracy[i])]));
    const close = X(bounds[1]) - X(bounds[0]) < 64;  // then one name stands above the other
    const handle = (value, i) => `<g data-handle="${i}" style="cursor:ew-resize">
      <path class="clr-handle" d="M${X(value)} ${axes.top}v${height}"/>
      <circle cx="${X(value)}" cy="${axes.top + height}" r="8" style="fill:var(--accent)"/>
      <text class="strong" x="${X(value)}" y="${axes.top - (close && i ? 22 : 6)}" text-anchor="${value < highest * .12 ? "start" : value > highest * .88 ? "end" : "middle"}">${names[i]}</text></g>`;
    const strip = rows.map((row, i) => {
      const y = height + 54 + 62 + i * every, [low, high] = row.bounds.map(X);
      const label = `${row.name}: ${row.bounds.map(each => short(each, 2)).join(" to ")}`;
      const right = high + 12 + 7 * label.length < width;  // else the label is left of the line
      const thin = row.kind === "seed";
      const colour = `var(--${row.kind === "you" ? "accent" : thin ? "soft" : "ink"})`;
      const end = x => `<circle cx="${x}" cy="${y}" r="${thin ? 3 : 6}" style="fill:${colour}"/>`;
      return `<path d="M${low} ${y}H${high}" style="stroke:${colour};stroke-width:${thin ? 1.5 : 4}"/>${end(low)}${end(high)}
        <text x="${right ? high + 12 : low - 12}" y="${y + 4}" text-anchor="${right ? "start" : "end"}" class="${thin ? "" : "strong"}">${text(label)}</text>`;
    }).join("");
    svg.innerHTML = `<text x="48" y="12">${text(data.watched)}</text>` + axes.draw()
      + `<rect x="${X(bounds[0])}" y="${axes.top}" width="${X(bounds[1]) - X(bounds[0])}" height="${height}" style="fill:var(--accent);opacity:.07"/>`
      + data.curves.map(curve => `<path d="${path(curve)}" style="stroke:${data.colour};stroke-width:1;opacity:.4"/>`).join("")
      + `<path d="${path(data.median)}" style="stroke:${data.colour};stroke-width:2.5"/>`
      + bounds.map(handle).join("") + strip;
  }

  function show() {
    inputs.forEach((input, i) => { input.value = bounds[i]; });
    names.forEach((name, i) => { find(`[data-shown="${name}"]`).textContent = short(bounds[i], 2); });
    let said = `You read ${bounds.map(each => short(each, 2)).join(" to ")}.`;
    if (revealed) {
      for (const row of data.readings.filter(each => each.kind !== "seed")) {
        const [low, high] = row.bounds.map((theirs, i) => {
          const away = Math.round(100 * (bounds[i] / theirs - 1));
          return away ? `${Math.abs(away)}\u00a0% ${away > 0 ? "higher" : "lower"}` : "the same";
        });
        said += ` Compared with ${row.name}, your base_lr is ${low} and your max_lr is ${high}.`;
      }
    }
    find("output").textContent = said;
    svg.setAttribute("aria-label", `${data.watched} against the learning rate. ` + said);
    draw();
  }

  function move(i, value) {
    bounds[i] = Math.min(highest, Math.max(0, value));
    // a bound pushes the other one, so that base_lr is never above max_lr
    if (bounds[0] > bounds[1]) bounds[1 - i] = bounds[i];
    show();
  }
  inputs.forEach((input, i) => input.addEventListener("input", () => move(i, Number(input.value))));
  find("button").addEventListener("click", () => {
    revealed = !revealed;
    find("button").setAttribute("aria-expanded", revealed);
    find("button").textContent = revealed ? "Hide the other readings" : "Compare with the other readings";
    show();
  });
  let held = null;
  const rateAt = event =>
    highest * (event.clientX - svg.getBoundingClientRect().left - 48) / (svg.clientWidth - 64);
  svg.addEventListener("pointerdown", event => {
    const value = rateAt(event);
    held = Math.abs(value - bounds[0]) <= Math.abs(value - bounds[1]) ? 0 : 1;
    svg.setPointerCapture(event.pointerId);
    move(held, value);
    event.preventDefault();
  });
  svg.addEventListener("pointermove", event => { if (held !== null) move(held, rateAt(event)); });
  for (const end of ["pointerup", "pointercancel"])
    svg.addEventListener(end, () => { held = null; });
  fit(find(".clr-chart"), draw);
  show();
}
