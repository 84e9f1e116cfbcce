// Rate and accuracy together: a slider over the iterations moves along both.
function start(live, data, uid) {
  const arms = data.arms;
  const seeds = [...new Set(arms.flatMap(arm => arm.runs.map(run => run.seed)))].sort((a, b) => a - b);
  let shown = new Set(data.shown), seed = "all", at = null;

  live.innerHTML = `
    <p class="clr-hint">${text(data.hint)}</p>
    ${choices(uid, "arm", "Schedules", arms.map(arm => ({value: arm.name, ...arm})), data.shown, "checkbox")}
    <p class="clr-which"><label>Runs<select><option value="all">all</option>${seeds.map(each =>
      `<option value="${each}">seed ${each}</option>`).join("")}</select></label></p>
    <div class="clr-chart"><svg role="img" aria-describedby="${uid}-said"></svg></div>
    <label class="clr-at"><span class="clr-unseen">Iteration</span><input type="range" min="0" max="1" value="0"></label>
    <table><thead></thead><tbody></tbody></table>
    <output class="clr-unseen" id="${uid}-said" aria-live="polite"></output>
    <p class="clr-note">${text(data.note)}</p>`;
  const find = selector => live.querySelector(selector);
  const svg = find(".clr-chart svg"), along = find(".clr-at input");

  const visible = () => arms.filter(arm => shown.has(arm.name));
  const runsOf = arm => arm.runs.filter(run => seed === "all" || run.seed === Number(seed));
  const row = arm => {  // the last test up to the iteration
    let i = 0;
    while (i + 1 < arm.t.length && arm.t[i + 1] <= at) i++;
    return i;
  };
  // A run that diverged has no accuracy from there on.
  const value = (run, i) => i < run.accuracy.length ? run.accuracy[i] / data.scale : null;

  function draw() {
    const width = Math.floor(find(".clr-chart").clientWidth), some = visible();
    if (!width) return;
    const end = Math.max(...some.map(arm => arm.t[arm.t.length - 1]), 1);
    const highest = Math.max(...some.flatMap(arm => arm.rate[1]), 0) * 1.06 || 1;
    // The first tenth of a run, where accuracy rises fast, does not set the scale.
    const late = some.flatMap(arm => runsOf(arm).flatMap(run =>
      run.accuracy.filter((_, i) => arm.t[i] >= arm.t[arm.t.length - 1] / 10))).map(each => each / data.scale);
    const [least, most] = late.length ? [Math.min(...late), Math.max(...late)] : [0, 1];
    const step = most - least > 0.3 ? 10 : most - least > 0.06 ? 20 : 200;
    const low = Math.floor(step * least) / step, top = Math.ceil(step * most + 1e-9) / step;
    const place = {left: 52, width: width - 68, x: [0, end], xName: "iteration"};
    const above = panel({...place, top: 26, height: 110, y: [0, highest], yText: y => short(y), yName: "learning rate"});
    const below = panel({...place, top: 180, height: 210, y: [low, top], xText: whole,
      yText: y => percent(y, top - low < 0.03 ? 1 : 0), yName: "test accuracy"});
    svg.setAttribute("width", width);
    svg.setAttribute("height", 430);
    const dash = arm => arm.dash ? ` stroke-dasharray="${arm.dash}"` : "";
    const parts = [above.draw(), below.draw(),
      `<clipPath id="${uid}-clip"><rect x="${below.left - 6}" y="${below.top - 6}" width="${below.width + 12}" height="${below.height + 6}"/></clipPath>`];
    for (const arm of some) {
      const rate = arm.rate[0].map((t, i) => [above.X(t), above.Y(arm.rate[1][i])]);
      parts.push(`<path d="${line(rate)}"${dash(arm)} style="stroke:${arm.colour}"/>`);
      const runs = runsOf(arm), thin = runs.length > 1;
      for (const run of runs)
        parts.push(`<path clip-path="url(#${uid}-clip)" d="${line(run.accuracy.map((v, i) => [below.X(arm.t[i]), below.Y(v / data.scale)]))}"${dash(arm)} style="stroke:${arm.colour};stroke-width:${thin ? 1.2 : 2};opacity:${thin ? .75 : 1}"/>`);
    }
    parts.push(`<path class="mark" d="M${below.X(at)} ${above.top}V${below.top + below.height}"/>`);
    for (const arm of some) {
      const i = row(arm), x = below.X(arm.t[i]);
      parts.push(`<circle r="6" cx="${x}" cy="${above.Y(arm.lr[i])}" style="fill:${arm.colour}"/>`);
      for (const run of runsOf(arm))
        if (value(run, i) !== null && value(run, i) >= low)
          parts.push(`<circle r="5" cx="${x}" cy="${below.Y(value(run, i))}" style="fill:${arm.colour}"/>`);
    }
    svg.innerHTML = parts.join("");
    svg.onpointermove = svg.onpointerdown = event => {
      const x = event.clientX - svg.getBoundingClientRect().left;
      along.value = end * (x - place.left) / place.width;
      show();
    };
    along.style.marginLeft = place.left - 8 + "px";
    along.style.width = place.width + 16 + "px";
  }

  function show() {
    const some = visible();
    const end = Math.max(...some.map(arm => arm.t[arm.t.length - 1]), 1);
    along.max = end;
    along.step = Math.min(...some.map(arm => arm.t[1] - arm.t[0]), end);
    if (at === null) along.value = Math.round(end / 2);
    at = Number(along.value);
    const lines = some.map(arm => {
      const i = row(arm), values = runsOf(arm).map(run => value(run, i)).filter(v => v !== null);
      const ended = at > arm.t[arm.t.length - 1];
      return {arm, lr: arm.lr[i], values, ended,
        mean: values.length ? values.reduce((a, b) => a + b) / values.length : null};
    });
    find("thead").innerHTML = `<tr><th scope="col">at iteration ${whole(at)}</th><th scope="col">rate</th>
      <th scope="col">accuracy</th><th scope="col">lowest to highest</th></tr>`;
    find("tbody").innerHTML = lines.map(({arm, lr, values, ended, mean}) => `<tr>
      <th scope="row"><span class="clr-key" style="--c:${arm.colour}${arm.dash ? ";border-top-style:dashed" : ""}"></span>${text(arm.name)}${
        ended ? ` <small>(ended at ${whole(arm.t[arm.t.length - 1])})</small>` : ""}</th>
      <td>${short(lr)}</td><td class="strong" data-value="${mean}">${mean === null ? "diverged" : percent(mean)}</td>
      <td>${values.length > 1 ? [Math.min(...values), Math.max(...values)].map(v => (100 * v).toFixed(1)).join(" to ") : "–"}</td></tr>`).join("");
    const said = `At iteration ${whole(at)}: ` + lines.map(({arm, lr, mean}) =>
      `${arm.name}, rate ${short(lr)}, accuracy ${mean === null ? "none" : percent(mean)}`).join("; ");
    find("output").textContent = said;
    svg.setAttribute("aria-label", "Learning rate and test accuracy against iteration. " + said);
    draw();
  }

  live.addEventListener("change", event => {
    const input = event.target;
    if (input.dataset.key === "arm") {
      if (input.checked) shown.add(input.value); else shown.delete(input.value);
      if (!shown.size) { shown.add(input.value); input.checked = true; }  // one stays
    }
    if (input.tagName === "SELECT") seed = input.value;
    show();
  });
  along.addEventListener("input", show);
  fit(find(".clr-chart"), draw);
  show();
}
