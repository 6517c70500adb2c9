// Draws the run panel. Cells of the table are updated in place, so that focus and selection survive an update.
const COLUMNS = [["name", "run"], ["state", "state"], ["calls", "calls"], ["cost", "cost"], ["tokens", "tokens"],
  ["latency", "latency"]];
const PATIENCE = 3000; // milliseconds

function render({ model, el }) {
  const face = card({ model, el }, "run panel", "Runs of this kernel");
  let stopping = false, waiting = 0;
  const stop = button("Stop", () => {
    stopping = true;
    waiting = setTimeout(() => { stopping = false; unheard = true; face.draw(); }, PATIENCE);
    face.draw();
    model.send({ do: "stop" });
  });
  // ipykernel 6, and editors that know no subshells, keep the message until the cell is over
  let unheard = false;
  const note = make("p", { role: "alert", class: "prodkit-problem", hidden: true },
    "This kernel doesn't hear the button while a cell runs. The editor's own stop button stops the run as well.");
  const hear = (message) => { if (message.stopping) { clearTimeout(waiting); unheard = false; face.draw(); } };
  model.on("msg:custom", hear);
  const body = make("tbody"), limits = make("ul", { "aria-label": "budgets" });
  const head = make("tr", {}, ...COLUMNS.map(([, label]) => make("th", { scope: "col" }, label)));
  const table = make("table", { "aria-label": "runs" }, make("thead", {}, head), body);
  const more = make("div", { class: "prodkit-quiet" });
  face.header.append(stop);
  el.append(note, table, more, limits);

  face.each((state) => {
    const open = state.runs.filter((run) => run.open);
    if (!open.length) { stopping = unheard = false; clearTimeout(waiting); }
    note.hidden = !unheard;
    const names = open.map((run) => run.name).join(", ");
    stop.disabled = !open.length || stopping;
    stop.setAttribute("aria-label", open.length ? `Stop ${names}` : "Stop: nothing runs");
    set(face.said, stopping ? `stopping ${names}` : open.length ? `${names} is running` : "nothing is running");
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
    set(more, state.more ? `and ${state.more.toLocaleString("en")} earlier runs` : "");
    bars(limits, state.limits);
  });
  face.draw();
  return () => { clearTimeout(waiting); model.off("msg:custom", hear); face.end(); };
}

export default { render };
