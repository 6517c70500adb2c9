// Draws the RACI editor: one field for each activity and person. Python checks what is typed; fields keep their place.
function render({ model, el }) {
  const face = card({ model, el }, "RACI editor", "Who answers for what");
  const save = button("Save prodkit.yaml", () => model.send({ do: "save" }));
  const load = button("Load again", () => { shape = ""; model.send({ do: "load" }); });
  el.classList.add("prodkit-wide");
  const help = make("p", { class: "prodkit-quiet" },
    "R does it, A answers for it (exactly one in a row), C is asked, I is told. Arrow keys move between fields.");
  const table = make("table", { class: "prodkit-grid", "aria-label": "RACI by activity" });
  const scroll = make("div", { class: "prodkit-scroll prodkit-tall", tabindex: "-1" }, table);
  const others = make("ul", { "aria-label": "other findings" });
  const activity = make("input", { type: "text", size: "22" });
  const id = make("input", { type: "text", size: "8" }), name = make("input", { type: "text", size: "16" });
  const email = make("input", { type: "email", size: "24" });
  const clear = (...fields) => { for (const field of fields) field.value = ""; };
  const adding = make("div", { class: "prodkit-row" }, labelled("New activity", activity),
    button("Add activity", () => { model.send({ do: "activity", name: activity.value }); clear(activity); }));
  const joining = make("div", { class: "prodkit-row" }, labelled("New person: id", id), labelled("Name", name),
    labelled("E-mail", email), button("Add person", () => {
      model.send({ do: "person", id: id.value, name: name.value, email: email.value });
      clear(id, name, email);
    }));
  face.header.append(make("span", { class: "prodkit-end" }, load, save));
  el.append(help, scroll, others, adding, joining);
  const own = Math.random().toString(36).slice(2);
  let shape = "", waiting = new Map();

  function move(event, row, column) {
    const field = event.target, at = field.selectionStart, steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    if (at === 0) steps.ArrowLeft = [0, -1];
    if (at === field.value.length) steps.ArrowRight = [0, 1];
    const step = steps[event.key];
    const next = step && table.querySelector(`[data-at="${row + step[0]},${column + step[1]}"]`);
    if (next) { event.preventDefault(); next.focus(); next.select(); }
  }

  function build(state) {
    const head = make("tr", {}, make("th", { scope: "col" }, "activity"),
      ...state.people.map((one) => make("th", { scope: "col", title: one.name }, one.id)),
      make("th", { scope: "col" }, "check"));
    const rows = state.rows.map((row, r) => make("tr", {},
      make("th", { scope: "row", title: row.meaning }, row.activity),
      ...state.people.map((one, c) => {
        const field = make("input", { type: "text", size: "3", maxlength: "4", autocomplete: "off", spellcheck: "false",
          "data-at": `${r},${c}`, "data-key": `${row.activity}/${one.id}`, "aria-label": `${row.activity}, ${one.name}` });
        field.addEventListener("keydown", (event) => move(event, r, c));
        field.addEventListener("input", () => {
          clearTimeout(waiting.get(field));
          waiting.set(field, setTimeout(() =>
            model.send({ do: "put", activity: row.activity, who: one.id, letters: field.value }), 120));
        });
        return make("td", {}, field);
      }),
      make("td", { class: "prodkit-check", id: `prodkit-check-${own}-${r}` })));
    redraw(table, make("thead", {}, head), make("tbody", {}, ...rows));
  }

  face.each((state) => {
    const now = JSON.stringify([state.people, state.rows.map((row) => row.activity)]);
    if (now !== shape) { shape = now; build(state); }
    state.rows.forEach((row, r) => {
      const nobody = !row.cells.some((letters) => letters.includes("A"));
      const line = table.tBodies[0].rows[r], check = line.lastChild;
      set(check, row.check);
      check.classList.toggle("prodkit-wrong", row.wrong);
      state.people.forEach((one, c) => {
        const field = line.cells[c + 1].firstChild;
        if (active(field) !== field) field.value = row.cells[c];
        field.setAttribute("aria-invalid", String(row.wrong && (nobody || row.cells[c].includes("A"))));
        field.setAttribute("aria-describedby", check.id);
      });
    });
    set(face.said, state.said);
    save.disabled = !state.dirty;
    others.replaceChildren(...state.others.map((one) => make("li", {}, one)));
    others.hidden = !state.others.length;
  });
  face.draw();
  return () => { for (const timer of waiting.values()) clearTimeout(timer); face.end(); };
}

export default { render };
