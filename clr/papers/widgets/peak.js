// How much does the peak rate matter? A slider for the rate, and a bar per schedule.
function start(live, data, uid) {
  const octaves = data.rates.map(rate => Math.log2(rate / data.rates[0]));
  const last = octaves.length - 1, rows = data.schedules;
  // Bars begin at the accuracy of guessing; the scale ends above the best mean.
  const mean = row => row.accuracy.map(each => each.reduce((a, b) => a + b) / each.length);
  const means = rows.map(mean);
  const top = Math.ceil(20 * Math.max(...rows.flatMap(row => row.accuracy.flat()))) / 20;
  const share = accuracy => 100 * Math.max(0, (accuracy - data.chance) / (top - data.chance));

  live.innerHTML = `
    <p class="clr-hint">${text(data.hint)}</p>
    <div class="clr-rate"><label class="clr-slider"><span><span>Peak rate<span class="clr-between"></span></span> <b class="clr-now"></b></span>
      <input type="range" min="0" max="${octaves[last]}" step="0.05" value="${octaves[data.start]}"></label>
      <div class="clr-tested" role="group" aria-label="The tested rates">${data.rates.map((rate, i) =>
        `<button type="button" data-i="${i}" style="left:${100 * octaves[i] / octaves[last]}%">${short(rate)}</button>`).join("")}</div></div>
    <ul class="clr-rows">${rows.map((row, i) => `<li style="--c:${row.colour}">
      ${icon(row.icon, row.colour)}<span class="clr-name">${text(row.name)}</span>
      <span class="clr-track"><span class="clr-bar"></span>${row.accuracy[0].map(() => '<i class="clr-dot"></i>').join("")}
      <i class="clr-best" style="left:${share(Math.max(...means[i]))}%"></i></span>
      <b class="clr-value"></b></li>`).join("")}</ul>
    <div class="clr-scale" aria-hidden="true"><span>${percent(data.chance, 0)}, guessing</span><span>${percent(top, 0)}</span></div>
    <output class="clr-said" aria-live="polite"></output>
    <p class="clr-note">${text(data.note)}</p>`;
  const input = live.querySelector("input"), items = [...live.querySelectorAll("li")];

  // Between two tested rates, accuracy is linear in the logarithm of the rate.
  function between(values, octave) {
    const right = Math.max(1, octaves.findIndex(each => each >= octave - 1e-9));
    const part = (octave - octaves[right - 1]) / (octaves[right] - octaves[right - 1]);
    return values[right - 1] * (1 - part) + values[right] * part;
  }

  function show() {
    const rate = Math.min(data.rates[last], Number((data.rates[0] * 2 ** Number(input.value)).toPrecision(2)));
    const octave = Math.log2(rate / data.rates[0]);
    const near = octaves.map((each, i) => [Math.abs(each - octave), i]);
    const tested = near.some(([away]) => away < 1e-9);
    const used = near.filter(([away]) => tested ? away < 1e-9 : away < 1).map(([, i]) => i);
    const now = means.map(each => between(each, octave));
    const best = Math.max(...now);
    items.forEach((item, i) => {
      const row = rows[i];
      item.querySelector(".clr-bar").style.width = share(now[i]) + "%";
      item.querySelectorAll(".clr-dot").forEach((dot, seed) => {
        dot.style.left = share(between(row.accuracy.map(each => each[seed]), octave)) + "%";
      });
      const failed = used.some(at => row.failed[at]);
      const value = item.querySelector(".clr-value");
      value.textContent = percent(now[i]) + (failed ? " ✕" : "");
      value.dataset.value = now[i];
      item.classList.toggle("clr-top", now[i] === best);
    });
    live.querySelector(".clr-now").textContent = short(rate);
    live.querySelector(".clr-between").textContent = tested ? "" : ", between two tested rates";
    input.setAttribute("aria-valuetext", short(rate));
    live.querySelectorAll("button").forEach((button, i) =>
      button.setAttribute("aria-pressed", Math.abs(octaves[i] - octave) < 1e-9));
    const order = now.map((_, i) => i).sort((a, b) => now[b] - now[a]);
    const [first, worst] = [order[0], order[order.length - 1]];
    live.querySelector("output").textContent =
      `At ${short(rate)}, “${rows[first].name}” is best (${percent(now[first])}) and “${rows[worst].name}” is last (${percent(now[worst])}).`;
  }
  input.addEventListener("input", show);
  live.querySelector(".clr-tested").addEventListener("click", event => {
    const button = event.target.closest("button");
    if (button) { input.value = octaves[button.dataset.i]; show(); }
  });
  show();
}
