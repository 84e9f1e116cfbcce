// The policy explorer: curves of the chosen policy, its numbers, and the curve before.
function start(live, data, uid) {
  const state = {...data.start};
  const kinds = Object.fromEntries(data.kinds.map(kind => [kind.value, kind]));
  const sliders = Object.entries(data.sliders);
  let ghost = [], shown = [], moving = false, at = Math.round(data.iterations / 3);

  live.innerHTML = `
    <p class="clr-hint">Choose a policy and move its numbers. The dashed curve is the one before.</p>
    ${choices(uid, "kind", "Policy", data.kinds, [state.kind])}
    ${choices(uid, "reading", "Three readings of exp_range", data.readings, [state.reading])}
    ${choices(uid, "wave", "Wave", data.waves, [state.wave])}
    <div class="clr-chart"><svg role="img" height="280" aria-describedby="${uid}-said"></svg></div>
    <label class="clr-at"><span class="clr-unseen">Iteration</span>
      <input type="range" min="0" max="${data.iterations}" step="${Math.max(1, Math.round(data.iterations / 200))}" value="${at}"></label>
    <table><thead></thead><tbody></tbody></table>
    <output class="clr-unseen" id="${uid}-said" aria-live="polite"></output>
    <div class="clr-sliders">${sliders.map(([key, each]) =>
      slider(key, key, {...each, value: state[key]})).join("")}</div>
    <code></code>`;
  const find = selector => live.querySelector(selector);
  const svg = find(".clr-chart svg"), along = find(".clr-at input");

  function chosen() {
    const kind = kinds[state.kind];
    const names = kind.policies.filter(name =>
      kind.policies.length === 1 || state.reading === "all" || state.reading === name);
    const fields = Object.fromEntries(kind.fields.map(field => [field, state[field]]));
    return names.map(name => ({policy: name, ...fields}));
  }

  const rate = (p, t) => POLICIES[p.policy](p, t);

  function numbers(p) {
    let highest = 0, sum = 0;
    for (let t = 0; t < data.iterations; t++) {
      const value = rate(p, t);
      highest = Math.max(highest, value);
      sum += value;
    }
    const end = rate(p, data.iterations);
    return {now: rate(p, at), highest: Math.max(highest, end), mean: sum / data.iterations, end};
  }

  function draw() {
    const width = Math.floor(find(".clr-chart").clientWidth), n = data.iterations;
    if (!width) return;
    svg.setAttribute("width", width);
    const points = Math.min(n, 3 * width);
    const curve = p => Array.from({length: points + 1}, (_, i) => {
      const t = Math.round(n * i / points);
      return [t, rate(p, t)];
    });
    const curves = shown.map(curve), before = ghost.map(curve);
    const top = Math.max(...curves.concat(before).flat().map(([, y]) => y)) * 1.06 || 1;
    const axes = panel({left: 52, top: 26, width: width - 64, height: 212, x: [0, n], y: [0, top],
      xText: whole, yText: y => short(y), xName: "iteration", yName: "learning rate"});
    const pixels = points => line(points.map(([x, y]) => [axes.X(x), axes.Y(y)]));
    svg.innerHTML = axes.draw()
      + before.map(each => `<path d="${pixels(each)}" stroke-dasharray="5 4" style="stroke:var(--soft);stroke-width:1.5;opacity:.75"/>`).join("")
      + curves.map((each, i) => `<path d="${pixels(each)}" style="stroke:${data.colours[shown[i].policy]}"/>`).join("")
      + `<path class="mark" d="M${axes.X(at)} ${axes.top}v${axes.height}"/>`
      + shown.map(p => `<circle r="6" cx="${axes.X(at)}" cy="${axes.Y(rate(p, at))}" style="fill:${data.colours[p.policy]}"/>`).join("");
    svg.onpointermove = svg.onpointerdown = event => {
      const share = (event.clientX - svg.getBoundingClientRect().left - axes.left) / axes.width;
      along.value = Math.min(1, Math.max(0, share)) * n;
      show();
    };
    along.style.marginLeft = axes.left - 8 + "px";
    along.style.width = axes.width + 16 + "px";
  }

  function show() {
    at = Number(along.value);
    shown = chosen();
    const kind = kinds[state.kind];
    for (const [key] of sliders) {
      find(`[data-key="${key}"]`).closest("label").hidden = !kind.fields.includes(key);
      find(`[data-shown="${key}"]`).textContent =
        key === "stepsize" ? whole(state[key]) : String(Number(state[key].toPrecision(6)));
    }
    find('[data-group="wave"]').hidden = !kind.fields.includes("wave");
    find('[data-group="reading"]').hidden = kind.policies.length === 1;
    const rows = shown.map(p => ({name: data.names[p.policy], colour: data.colours[p.policy], ...numbers(p)}));
    find("thead").innerHTML = `<tr><th scope="col"><span class="clr-unseen">policy</span></th>
      <th scope="col">at ${whole(at)}</th><th scope="col">highest</th><th scope="col">mean</th>
      <th scope="col">at the end</th></tr>`;
    find("tbody").innerHTML = rows.map(row => `<tr><th scope="row"><span class="clr-key" style="--c:${row.colour}"></span>${text(row.name)}</th>
      ${["now", "highest", "mean", "end"].map(key =>
        `<td data-value="${row[key]}"${key === "now" ? ' class="strong"' : ""}>${short(row[key])}</td>`).join("")}</tr>`).join("");
    const said = `At iteration ${whole(at)}: ` + rows.map(row => `${row.name} ${short(row.now)}`).join(", ");
    find("output").textContent = said;
    svg.setAttribute("aria-label", "Learning rate against iteration. " + said);
    find("code").textContent = shown.map(p => {
      const fields = kind.fields.filter(f => f !== "wave" || state.wave !== "triangle");
      return `${data.classes[p.policy]}(${fields.map(f => `${f}=${f === "wave" ? state.wave : Number(state[f].toPrecision(6))}`).join(", ")})`;
    }).join("\n");
    draw();
  }

  live.addEventListener("input", event => {
    const key = event.target.dataset.key;
    if (key && !moving) { ghost = shown; moving = true; }
    if (key) {
      const isNumber = event.target.type === "range";
      state[key] = isNumber ? Number(event.target.value) : event.target.value;
      // the bounds push each other, so that base_lr is never above max_lr
      if (key === "base_lr") state.max_lr = Math.max(state.max_lr, state.base_lr);
      if (key === "max_lr") state.base_lr = Math.min(state.base_lr, state.max_lr);
      for (const bound of ["base_lr", "max_lr"]) find(`[data-key="${bound}"]`).value = state[bound];
    }
    show();
  });
  live.addEventListener("change", () => { moving = false; });
  fit(find(".clr-chart"), draw);
  show();
}
