// Every claim and its verdict: filters, columns that sort, and the details of one claim.
function start(live, data, uid) {
  const rows = data.rows.map(values => Object.fromEntries(data.keys.map((key, i) => [key, data.texts[values[i]]])));
  rows.forEach(row => { row.words = Object.values(row).join(" ").toLowerCase(); });
  const order = {key: null, down: false};

  const select = (key, name, all) => {
    const found = [...new Set(rows.map(row => row[key]))];
    const options = found.map(each => `<option${each === data.start[key] ? " selected" : ""}>${text(each)}</option>`);
    return `<label>${name} <select data-key="${key}"><option value="">${all}</option>${options.join("")}</select></label>`;
  };
  const column = ([key, name]) => `<th scope="col" data-column="${key}"><button type="button" data-sort="${key}">${text(name)}</button></th>`;
  live.innerHTML = `
    <p class="clr-hint">${text(data.hint)}</p>
    ${choices(uid, "answer", "Verdicts", data.answers, data.start.answer, "checkbox")}
    <p class="clr-filters">${select("kind", "Claims", "all")} ${select("source", "Place", "all")}
      ${select("experiment", "Experiment", "all")}
      <label>Word <input type="search" data-key="words" autocomplete="off"></label>
      <button type="button" data-all>Show all</button></p>
    <output class="clr-said" aria-live="polite"></output>
    <div class="clr-scroll" tabindex="0" role="region" aria-label="Claims"><table>
      <thead><tr>${data.columns.map(column).join("")}</tr></thead><tbody></tbody></table></div>
    <p class="clr-note">${text(data.note)}</p>`;
  const find = selector => live.querySelector(selector);
  const control = key => find(`[data-key="${key}"]:is(select, [type=search])`);
  const checked = () => [...live.querySelectorAll('[data-key="answer"]:checked')].map(each => each.value);

  const detail = row => `<dl>${data.details.filter(([key]) => row[key] && row[key] !== "–").map(([key, name]) =>
    `<dt>${text(name)}</dt><dd>${key === "command" ? `<code>${text(row[key])}</code>` : text(row[key])}</dd>`).join("")}</dl>`;
  const difference = row => row.points.split(" [")[0], spread = row => row.points.slice(difference(row).length);
  const cells = row => `<tr><td class="clr-verdict clr-${row.answer.replace(/ /g, "-")}">${text(row.mark)}</td>
    <th scope="row"><details><summary>${text(row.statement || row.claim)}${
      row.statement ? `<small>${text(row.claim)}</small>` : ""}</summary>${detail(row)}</details></th>
    <td><span class="strong">${text(difference(row))}</span><small>${text(spread(row))}</small></td>
    <td>${row.published.split(" ").map((part, i) => i ? `<small>${text(part)}</small>` : text(part)).join(" ")}</td>
    <td>${text(row.n)}</td></tr>`;

  // a number for each cell of a column, or its text
  const place = {
    mark: row => data.answers.findIndex(each => each.value === row.answer),
    claim: row => row.statement || row.claim,
    points: row => parseFloat(row.points),
    published: row => parseFloat(row.published),
    n: row => parseInt(row.n) || 0,
  };
  function sorted(some) {
    if (!order.key) return some;
    const key = place[order.key], absent = x => typeof x === "number" && Number.isNaN(x);
    return [...some].sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (absent(x) || absent(y)) return absent(x) - absent(y);  // always last
      return (x < y ? -1 : x > y ? 1 : 0) * (order.down ? -1 : 1);
    });
  }
  function show() {
    const answers = checked(), words = control("words").value.toLowerCase().split(/\s+/).filter(Boolean);
    const some = rows.filter(row => answers.includes(row.answer) && words.every(word => row.words.includes(word)) &&
      ["kind", "source", "experiment"].every(key => !control(key).value || control(key).value === row[key]));
    find("tbody").innerHTML = sorted(some).map(cells).join("");
    const parts = data.answers.map(each => [some.filter(row => row.answer === each.value).length, each.many]);
    find("output").textContent = `${some.length} of ${rows.length} claims: ` +
      parts.map(([n, name]) => `${n} ${name}`).join(", ");
    for (const th of live.querySelectorAll("th[data-column]"))
      if (th.dataset.column === order.key) th.setAttribute("aria-sort", order.down ? "descending" : "ascending");
      else th.removeAttribute("aria-sort");
  }

  live.addEventListener("input", event => { if (event.target.dataset.key) show(); });
  live.addEventListener("click", event => {
    const {sort} = event.target.dataset;
    if (sort) { order.down = order.key === sort && !order.down; order.key = sort; show(); }
    if ("all" in event.target.dataset) {
      for (const each of live.querySelectorAll("select, [type=search]")) each.value = "";
      for (const each of live.querySelectorAll('[data-key="answer"]')) each.checked = true;
      show();
    }
  });
  show();
}
