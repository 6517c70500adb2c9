// Draws the export wizard: parameters, how the job runs, what stands in the way, and the files that would be written.
const FIELDS = [["schedule", "Schedule (five cron fields)", "0 6 * * 1-5"], ["timezone", "Time zone", "UTC"],
  ["timeout", "Longest run", "30m"], ["retries", "Retries", "2"], ["retry_wait", "Wait before a retry", "5"]];
const PARAMETERS = [["name", "name"], ["type", "type"], ["default", "default"], ["help", "help"]];

function render({ model, el }) {
  const face = card({ model, el }, "export wizard", "Export as a job");
  const title = face.header.firstChild;
  el.classList.add("prodkit-wide");
  const again = button("Check again", () => model.send({ do: "check" }));
  const act = button("Export", () => { set(face.said, "exporting …"); act.disabled = true; model.send({ do: "export" }); });
  face.header.append(make("span", { class: "prodkit-end" }, again, act));
  const body = make("tbody"), fires = make("p", { class: "prodkit-quiet" });
  const head = make("tr", {}, ...PARAMETERS.map(([, label]) => make("th", { scope: "col" }, label)));
  const parameters = make("table", { "aria-label": "parameters" }, make("thead", {}, head), body);
  const send = (key, value) => { set(face.said, "checking …"); model.send({ do: "plan", key, value }); };
  const fields = FIELDS.map(([key, label, hint]) => {
    const field = make("input", { type: "text", placeholder: hint, size: key === "schedule" ? "16" : "12" });
    field.addEventListener("change", () => send(key, field.value));
    return [key, field, label];
  });
  const owner = make("select");
  owner.addEventListener("change", () => send("owner", owner.value));
  const form = make("div", { class: "prodkit-row" }, ...fields.map(([, field, label]) => labelled(label, field)),
    labelled("Answers for it", owner));
  const findings = make("ul", { "aria-label": "findings" });
  const list = make("ul", { "aria-label": "files", class: "prodkit-files" });
  const text = make("pre", { tabindex: "0", "aria-label": "content of the file" });
  const files = make("div", { class: "prodkit-preview" }, list, text);
  const section = (name, ...content) => make("section", { "aria-label": name }, make("h4", {}, name), ...content);
  el.append(section("Parameters", parameters), section("How it runs", form, fires),
    section("Findings", findings), section("Files", files));
  let opened = "";

  face.each((state) => {
    set(title, state.title);
    set(face.said, state.said);
    body.replaceChildren(...state.parameters.map((one) =>
      make("tr", {}, ...PARAMETERS.map(([key]) => make("td", {}, one[key])))));
    for (const [key, field] of fields) if (active(field) !== field) field.value = state.plan[key];
    options(owner, state.people.map((one) => [one, one || "nobody yet"]), state.plan.owner);
    set(fires, state.fires);
    findings.replaceChildren(...state.findings.map((one) => make("li", {}, one)));
    findings.parentNode.hidden = !state.findings.length;
    redraw(list, ...state.files.map((file) => make("li", {}, button(file.name, () => model.send({ do: "open", name: file.name }),
      { class: "prodkit-link", "data-key": file.name, "aria-pressed": String(file.name === opened) }),
      make("span", { class: "prodkit-quiet" }, ` ${file.state}, ${file.lines}`))));
    files.parentNode.hidden = !state.files.length;
    act.disabled = !state.ready;
  });
  const hear = (message) => {
    if (message.name === undefined) return;
    opened = message.name;
    set(text, message.text);
    text.setAttribute("aria-label", `content of ${message.name}`);
    for (const one of list.querySelectorAll("button")) one.setAttribute("aria-pressed", String(one.dataset.key === opened));
  };
  model.on("msg:custom", hear);
  face.draw();
  return () => { model.off("msg:custom", hear); face.end(); };
}

export default { render };
