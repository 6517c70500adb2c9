// Draws the request browser: a filter, one page of calls, and the chosen calls side by side with what people say of them.
// Python filters and pages; texts come by message for the chosen calls only and are stored nowhere.
const COLUMNS = [["time", "time"], ["run", "run"], ["model", "model"], ["status", "status"], ["tokens", "tokens"],
  ["cost", "cost"], ["latency", "latency"]];
const FILTERS = [["run", "Run"], ["model", "Model"], ["status", "Status"]];
const MOST = 2;

function render({ model, el }) {
  const face = card({ model, el }, "request browser", "Requests of this kernel");
  const text = make("input", { type: "search", placeholder: "words of prompt, answer, run or model" });
  const picks = FILTERS.map(([key, label]) => [key, make("select", { "data-key": key }), label]);
  const filters = make("div", { class: "prodkit-row", role: "search" }, labelled("Filter", text),
    ...picks.map(([, select, label]) => labelled(label, select)));
  const body = make("tbody");
  const head = make("tr", {}, make("th", { scope: "col" }, "compare"),
    ...COLUMNS.map(([, name]) => make("th", { scope: "col" }, name)));
  const table = make("table", { "aria-label": "requests" }, make("thead", {}, head), body);
  const scroll = make("div", { class: "prodkit-scroll", tabindex: "0", role: "group", "aria-label": "requests" }, table);
  const turn = (by) => model.send({ do: "page", page: model.get("state").page + by });
  const newer = button("Newer", () => turn(-1)), older = button("Older", () => turn(1)), where = make("span");
  const pager = make("nav", { class: "prodkit-row", "aria-label": "pages of requests" }, newer, where, older);
  const side = make("div", { class: "prodkit-side", "aria-live": "polite" });
  el.append(filters, scroll, pager, side);
  let chosen = [], entries = [], timer = 0;

  const find = () => model.send({ do: "find", text: text.value,
    ...Object.fromEntries(picks.map(([key, select]) => [key, select.value])) });
  text.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(find, 200); });
  for (const [, select] of picks) select.addEventListener("change", find);

  function choose(id, on) {
    chosen = on ? [...chosen, id].slice(-MOST) : chosen.filter((one) => one !== id);
    for (const box of body.querySelectorAll("input")) box.checked = chosen.includes(box.dataset.id);
    model.send({ do: "choose", ids: chosen });
  }

  face.each((state) => {
    set(face.said, `${state.found.toLocaleString("en")} of ${state.total.toLocaleString("en")} requests`);
    for (const [key, select, label] of picks)
      options(select, [["", `any ${label.toLowerCase()}`], ...state.choices[key].map((one) => [one, one])], state.filter[key]);
    if (active(text) !== text) text.value = state.filter.text;
    redraw(body, ...state.calls.map((call) => {
      const box = make("input", { type: "checkbox", "data-key": call.id, "data-id": call.id,
        "aria-label": `compare the request of ${call.run} at ${call.time}` });
      box.checked = chosen.includes(call.id);
      box.addEventListener("change", () => choose(call.id, box.checked));
      return make("tr", {}, make("td", {}, box), ...COLUMNS.map(([key]) => make("td", {}, call[key])));
    }));
    newer.disabled = state.page <= 0;
    older.disabled = state.page >= state.pages - 1;
    set(where, `page ${(state.page + 1).toLocaleString("en")} of ${state.pages.toLocaleString("en")}`);
    pager.hidden = state.pages < 2;
  });

  function judgement(call) {
    let good = null;
    const pressed = (node, on) => node.setAttribute("aria-pressed", String(on));
    const up = button("Good", () => press(true), { "aria-pressed": "false", "aria-label": "good answer" });
    const down = button("Bad", () => press(false), { "aria-pressed": "false", "aria-label": "bad answer" });
    const score = make("select"), comment = make("input", { type: "text", placeholder: "why" });
    const by = make("input", { type: "text", value: model.get("state").by, size: "16" });
    options(score, [["", "no score"], ...[1, 2, 3, 4, 5].map((n) => [String(n), `${n} of 5`])]);
    function press(value) {
      good = good === value ? null : value;
      pressed(up, good === true);
      pressed(down, good === false);
    }
    const send = button("Send feedback", () => model.send({ do: "judge", id: call.id, good,
      score: score.value ? Number(score.value) : null, comment: comment.value, by: by.value }));
    const form = make("fieldset", {}, make("legend", {}, "Your feedback, for the trace in MLflow"),
      make("div", { class: "prodkit-row" }, up, down, labelled("Score", score)),
      make("div", { class: "prodkit-row" }, labelled("Comment", comment), labelled("By", by), send));
    form.clear = () => { press(null); score.value = comment.value = ""; };
    return form;
  }

  const parts = new Map(); // a form that somebody is filling in stays when another one is sent
  function part(call) {
    const made = parts.get(call.id) || build(call);
    parts.set(call.id, made);
    if (call.said.length > (made.taken || 0)) made.querySelector("fieldset").clear(); // until then what is typed stays
    made.taken = call.said.length;
    made.querySelector("ul").replaceChildren(...call.said.map((one) => make("li", {}, one)));
    return made;
  }

  function build(call) {
    return make("section", { "aria-label": `request of ${call.run} at ${call.time}` }, make("strong", {}, call.model),
      make("div", { class: "prodkit-quiet" }, `${call.run}, ${call.time}: ${call.cost}, ${call.latency}, ${call.tokens}`),
      ...[["prompt", "Prompt"], ["answer", "Answer"]].flatMap(([key, title]) =>
        [make("h4", {}, title), make("pre", { tabindex: "0", "aria-label": title.toLowerCase() }, call[key])]),
      make("ul", { "aria-label": "feedback so far" }), judgement(call));
  }

  function drawSide() {
    for (const id of parts.keys()) if (!entries.some((call) => call.id === id)) parts.delete(id);
    const wanted = entries.map(part);
    if (wanted.length !== side.children.length || wanted.some((one, at) => one !== side.children[at])) side.replaceChildren(...wanted);
  }

  const hear = (message) => {
    if (message.entries) { // what was clicked since it was asked for counts more than this answer
      entries = message.entries;
      drawSide();
    }
    if (message.said) set(face.said, message.said);
  };
  model.on("msg:custom", hear);
  face.draw();
  return () => { clearTimeout(timer); model.off("msg:custom", hear); face.end(); };
}

export default { render };
