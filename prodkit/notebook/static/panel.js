// Draws the run panel. Cells of the table are updated in place, so that focus and selection survive an update.
const COLUMNS = [["name", "run"], ["state", "state"], ["calls", "calls"], ["cost", "cost"], ["tokens", "tokens"],
  ["latency", "latency"]];

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

function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function bar(node, share, label) {
  let found = node.querySelector("progress");
  if (share === null || share === undefined) { if (found) found.remove(); return; }
  if (!found) { found = make("progress", { max: "1" }); node.append(make("br"), found); }
  const said = `${Math.round(share * 100)} % of ${label} spent`;
  if (found.value !== share) found.value = share;
  found.setAttribute("aria-label", said);
  found.title = said;
}

function render({ model, el }) {
  el.classList.add("prodkit-card", "prodkit-plain");
  el.setAttribute("role", "region");
  el.setAttribute("aria-label", "prodkit run panel");
  const header = make("header");
  const stop = make("button", { type: "button", class: "prodkit-button" }, "Stop");
  const said = make("span", { role: "status", "aria-live": "polite", class: "prodkit-quiet" });
  header.append(make("strong", {}, "Runs of this kernel"), said, stop);
  const table = make("table");
  const head = make("tr");
  for (const [, label] of COLUMNS) head.append(make("th", { scope: "col" }, label));
  const thead = make("thead"), body = make("tbody"), limits = make("ul", { "aria-label": "budgets" });
  const problem = make("p", { role: "alert" });
  thead.append(head);
  table.append(thead, body);
  el.append(header, table, limits, problem);
  let stopping = false;
  stop.addEventListener("click", () => {
    stopping = true;
    draw();
    model.send({ do: "stop" });
  });

  function draw() {
    const state = model.get("state");
    const open = state.runs.filter((run) => run.open);
    if (!open.length) stopping = false;
    stop.disabled = !open.length || stopping;
    stop.setAttribute("aria-label", open.length ? `Stop ${open.map((run) => run.name).join(", ")}` : "Stop: nothing runs");
    const names = open.map((run) => run.name).join(", ");
    set(said, stopping ? `stopping ${names}` : open.length ? `${names} is running` : "nothing is running");
    while (body.rows.length > state.runs.length) body.deleteRow(-1);
    while (body.rows.length < state.runs.length) {
      const row = body.insertRow();
      for (const _ of COLUMNS) row.insertCell().append(make("span"));
    }
    state.runs.forEach((run, index) => {
      const cells = body.rows[index].cells;
      COLUMNS.forEach(([key], column) => set(cells[column].firstChild, run[key]));
      bar(cells[3], run.share, `the budget of ${run.name}`);
    });
    table.hidden = !state.runs.length;
    while (limits.children.length > state.limits.length) limits.lastChild.remove();
    while (limits.children.length < state.limits.length) {
      const item = make("li");
      item.append(make("span"));
      limits.append(item);
    }
    state.limits.forEach((limit, index) => {
      set(limits.children[index].firstChild, `${limit.name}: ${limit.text}`);
      bar(limits.children[index], limit.share, `the budget of the ${limit.name}`);
    });
    set(problem, state.problem || "");
    problem.hidden = !state.problem;
  }

  model.on("change:state", draw);
  draw();
  const showTwin = hideTwin(model.get("twin"));
  return () => { model.off("change:state", draw); showTwin(); };
}

export default { render };
