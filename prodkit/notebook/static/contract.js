// Draws the contract editor: each rule with what it rests on and how many rows at hand break it.
const HEADS = ["column", "rule", "value", "severity", "rests on", "breaking rows", ""];

function render({ model, el }) {
  const face = card({ model, el }, "contract editor", "Data contract");
  const title = face.header.firstChild;
  el.classList.add("prodkit-wide");
  const test = button("Test", () => model.send({ do: "test" }));
  const save = button("Save", () => model.send({ do: "save" }));
  const load = button("Load again", () => model.send({ do: "load" }));
  face.header.append(make("span", { class: "prodkit-end" }, test, load, save));
  const body = make("tbody");
  const head = make("tr", {}, ...HEADS.map((text) => make("th", { scope: "col" }, text || make("span", { class: "prodkit-unseen" }, "remove"))));
  const table = make("table", { "aria-label": "rules", class: "prodkit-rules" }, make("thead", {}, head), body);
  const scroll = make("div", { class: "prodkit-scroll prodkit-tall", tabindex: "0", role: "group", "aria-label": "rules" }, table);
  const column = make("select"), kind = make("select"), value = make("input", { type: "text", size: "28" });
  const add = button("Add rule", () => {
    model.send({ do: "put", column: column.value, kind: kind.value, value: value.value });
    value.value = "";
  });
  const kinds = () => options(kind, (model.get("state").columns[column.value] || []).map((one) => [one, one]));
  column.addEventListener("change", kinds);
  value.addEventListener("keydown", (event) => { if (event.key === "Enter") add.click(); });
  const adding = make("div", { class: "prodkit-row" }, labelled("Column", column), labelled("Rule", kind), labelled("Value", value), add);
  const verdict = make("p", { "aria-label": "verdict" }), others = make("ul", { "aria-label": "other findings" });
  el.append(scroll, adding, verdict, others);

  function field(rule) {
    if (!rule.editable) return rule.value;
    const typed = make("input", { type: "text", value: rule.value, size: String(Math.min(34, Math.max(8, rule.value.length))),
      "data-key": `${rule.id}/value`, "aria-label": `value of ${rule.id}` });
    typed.addEventListener("change", () => {
      if (typed.value !== rule.value) model.send({ do: "put", column: rule.column, kind: rule.kind, value: typed.value });
    });
    typed.addEventListener("keydown", (event) => { if (event.key === "Escape") typed.value = rule.value; });
    return typed;
  }

  function weight(rule) {
    if (rule.place !== "quality") return rule.severity;
    const pick = make("select", { "data-key": `${rule.id}/severity`, "aria-label": `severity of ${rule.id}` });
    options(pick, [["error", "error"], ["warning", "warning"]]);
    pick.value = rule.severity;
    pick.addEventListener("change", () => model.send({ do: "weigh", id: rule.id, severity: pick.value }));
    return pick;
  }

  face.each((state) => {
    set(title, state.title);
    set(face.said, state.said);
    table.classList.toggle("prodkit-no-evidence", !state.rules.some((rule) => rule.evidence));
    redraw(body, ...state.rules.map((rule, at) => make("tr", { class: rule.broken ? "prodkit-broken" : "" },
      make("th", { scope: "row", class: at && state.rules[at - 1].column === rule.column ? "prodkit-again" : "" },
        rule.column || "whole table"), make("td", {}, rule.kind), make("td", {}, field(rule)),
      make("td", {}, weight(rule)), make("td", { class: "prodkit-quiet" }, rule.evidence),
      make("td", { class: "prodkit-rows" }, rule.broken ? make("strong", {}, rule.rows) : rule.rows),
      make("td", {}, rule.place ? button("Remove", () => model.send({ do: "remove", id: rule.id }),
        { "data-key": `${rule.id}/remove`, "aria-label": `Remove ${rule.id}` }) : null))));
    options(column, Object.keys(state.columns).map((one) => [one, one]));
    kinds();
    test.disabled = !state.frame;
    test.title = state.frame ? `on the dataframe ${state.frame}` : "no dataframe of this name is at hand";
    save.disabled = !state.dirty;
    set(verdict, state.verdict);
    others.replaceChildren(...state.others.map((one) => make("li", {}, one)));
    others.hidden = !state.others.length;
  });
  face.draw();
  return face.end;
}

export default { render };
