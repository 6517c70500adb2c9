// Draws the cost meter: what is spent, of which budgets, and by which models.
const COLUMNS = [["model", "model"], ["calls", "calls"], ["tokens", "tokens"], ["cost", "cost"], ["unpriced", "no price"]];

function render({ model, el }) {
  const face = card({ model, el }, "cost meter", "Cost");
  const spent = make("span", { class: "prodkit-big" }), unpriced = make("span", { class: "prodkit-tag" });
  const limits = make("ul", { "aria-label": "budgets", class: "prodkit-bars" }), body = make("tbody");
  const head = make("tr", {}, ...COLUMNS.map(([, label]) => make("th", { scope: "col" }, label)));
  const table = make("table", { "aria-label": "cost by model" }, make("thead", {}, head), body);
  el.append(make("div", { class: "prodkit-row" }, spent, unpriced), limits, table);

  face.each((state) => {
    set(spent, state.spent);
    set(unpriced, state.unpriced);
    unpriced.hidden = !state.unpriced;
    el.classList.toggle("prodkit-warn", Boolean(state.unpriced));
    set(face.said, state.said);
    bars(limits, state.limits);
    while (body.rows.length > state.models.length) body.deleteRow(-1);
    while (body.rows.length < state.models.length) {
      const row = body.insertRow();
      for (const _ of COLUMNS) row.insertCell().append(make("span"));
    }
    state.models.forEach((one, index) => {
      COLUMNS.forEach(([key], column) => set(body.rows[index].cells[column].firstChild, one[key]));
      const cell = body.rows[index].cells[3];
      let share = cell.querySelector("meter");
      if (!share) { share = make("meter", { min: "0", max: "1" }); cell.append(share); }
      share.value = one.share;
      share.hidden = !one.share;
      share.setAttribute("aria-label", `${Math.round(one.share * 100)} % of the cost is ${one.model}`);
      share.title = share.getAttribute("aria-label");
    });
    table.hidden = !state.models.length;
  });
  face.draw();
  return face.end;
}

export default { render };
