// Draws the request browser: a filter, a table of calls, and the chosen calls side by side. All in the page, no traffic.
const COLUMNS = [["time", "time"], ["run", "run"], ["model", "model"], ["status", "status"], ["tokens", "tokens"],
  ["cost", "cost"], ["latency", "latency"]];
const SIDE = [["prompt", "Prompt"], ["answer", "Answer"]];
const MOST = 2;

function make(tag, attributes = {}, text = "") {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text) node.textContent = text;
  return node;
}

// While this view is alive it hides the static twin that stands for it without a kernel.
function hideTwin(name) {
  const style = make("style", {}, name ? `.${name} { display: none; }` : "");
  document.head.append(style);
  return () => style.remove();
}

let serial = 0;

function render({ model, el }) {
  const id = `prodkit-filter-${++serial}`;
  el.classList.add("prodkit-card", "prodkit-plain");
  el.setAttribute("role", "region");
  el.setAttribute("aria-label", "prodkit request browser");
  const header = make("header");
  const label = make("label", { for: id }, "Filter");
  const filter = make("input", { type: "search", id, placeholder: "words of prompt, answer, run or model" });
  const said = make("span", { role: "status", "aria-live": "polite", class: "prodkit-quiet" });
  header.append(make("strong", {}, "Requests of this kernel"), label, filter, said);
  const scroll = make("div", { class: "prodkit-scroll", tabindex: "0", role: "group", "aria-label": "requests" });
  const table = make("table"), head = make("tr"), thead = make("thead"), body = make("tbody");
  head.append(make("th", { scope: "col" }, "compare"));
  for (const [, name] of COLUMNS) head.append(make("th", { scope: "col" }, name));
  thead.append(head);
  table.append(thead, body);
  scroll.append(table);
  const side = make("div", { class: "prodkit-side", "aria-live": "polite" });
  el.append(header, scroll, side);
  let chosen = [];

  function matching() {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    return model.get("state").calls.filter((call) => {
      const text = [call.prompt, call.answer, call.run, call.model, call.status].join("\n").toLowerCase();
      return words.every((word) => text.includes(word));
    });
  }

  function drawTable() {
    const found = matching(), state = model.get("state");
    const more = state.more ? `, ${state.more} earlier ones are not shown` : "";
    said.textContent = `${found.length} of ${state.calls.length} requests${more}`;
    body.replaceChildren(...found.map((call) => {
      const row = make("tr"), cell = make("td");
      const box = make("input", { type: "checkbox", "aria-label": `compare the request of ${call.run} at ${call.time}` });
      box.checked = chosen.includes(call.id);
      box.addEventListener("change", () => {
        chosen = box.checked ? [...chosen, call.id].slice(-MOST) : chosen.filter((one) => one !== call.id);
        for (const other of body.querySelectorAll("input")) other.checked = chosen.includes(other.dataset.id);
        drawSide();
      });
      box.dataset.id = call.id;
      cell.append(box);
      row.append(cell, ...COLUMNS.map(([key]) => make("td", {}, call[key])));
      return row;
    }));
  }

  function drawSide() {
    const calls = model.get("state").calls;
    side.replaceChildren(...chosen.map((one) => calls.find((call) => call.id === one)).filter(Boolean).map((call) => {
      const part = make("section", { "aria-label": `request of ${call.run} at ${call.time}` });
      part.append(make("strong", {}, `${call.model}`),
        make("div", { class: "prodkit-quiet" }, `${call.run}, ${call.time}: ${call.cost}, ${call.latency}, ${call.tokens}`));
      for (const [key, title] of SIDE) part.append(make("h4", {}, title), make("pre", { tabindex: "0" }, call[key]));
      return part;
    }));
  }

  const draw = () => { drawTable(); drawSide(); };
  filter.addEventListener("input", drawTable);
  model.on("change:state", draw);
  draw();
  const showTwin = hideTwin(model.get("twin"));
  return () => { model.off("change:state", draw); showTwin(); };
}

export default { render };
