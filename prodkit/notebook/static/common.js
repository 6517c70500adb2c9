// What every widget's script begins with: elements, a card that hides its static twin, and tables that keep the focus.
function make(tag, attributes = {}, ...content) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...content.filter((part) => part !== null && part !== undefined));
  return node;
}

function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// The label holds its field, because ids would have to be unique over all widgets of a page.
function labelled(text, field) {
  return make("label", { class: "prodkit-field" }, make("span", {}, text), field);
}

function options(select, values, chosen) {
  const wanted = values.map(([value, text]) => `${value}\n${text}`).join("\n\n");
  if (select.dataset.options !== wanted) {
    select.dataset.options = wanted;
    const kept = select.value;
    select.replaceChildren(...values.map(([value, text]) => make("option", { value }, text)));
    if (values.some(([value]) => value === kept)) select.value = kept;
  }
  if (chosen !== undefined && select !== active(select)) select.value = chosen;
}

function active(node) {
  return node.getRootNode().activeElement;
}

function button(text, act, attributes = {}) {
  return make("button", { type: "button", class: "prodkit-button", onclick: act, ...attributes }, text);
}

// A bar of what is spent. Text says the same, so that nothing hangs on seeing it.
function bar(node, share, label) {
  let found = node.querySelector("progress");
  if (share === null || share === undefined) { if (found) found.remove(); return; }
  if (!found) { found = make("progress", { max: "1" }); node.append(make("br"), found); }
  const said = `${Math.round(share * 100)} % of ${label} spent`;
  if (found.value !== share) found.value = share;
  found.classList.toggle("prodkit-full", share >= 0.95);
  found.setAttribute("aria-label", said);
  found.title = said;
}

function bars(list, limits) {
  while (list.children.length > limits.length) list.lastChild.remove();
  while (list.children.length < limits.length) list.append(make("li", {}, make("span")));
  limits.forEach((limit, index) => {
    set(list.children[index].firstChild, `${limit.name}: ${limit.text}`);
    bar(list.children[index], limit.share, `the budget of the ${limit.name}`);
  });
  list.hidden = !limits.length;
}

// Replace what a node holds; the field that had the focus gets it back, with what was typed and where the caret was.
function redraw(node, ...content) {
  const old = active(node), key = node.contains(old) ? old.dataset.key : undefined;
  const typed = key && "value" in old && !["checkbox", "button"].includes(old.type) ? old.value : undefined;
  const caret = key && old.type === "text" ? [old.selectionStart, old.selectionEnd] : null;
  node.replaceChildren(...content);
  const again = key && [...node.querySelectorAll("[data-key]")].find((one) => one.dataset.key === key);
  if (!again) return;
  if (typed !== undefined) again.value = typed;
  again.focus();
  if (caret) again.setSelectionRange(...caret);
}

// The card of a widget. Its static twin, an output of its own, is hidden while the kernel is there.
function card({ model, el }, label, title) {
  el.classList.add("prodkit-card", "prodkit-plain");
  el.setAttribute("role", "region");
  el.setAttribute("aria-label", `prodkit ${label}`);
  const said = make("span", { role: "status", "aria-live": "polite", class: "prodkit-quiet" });
  const header = make("header", {}, make("strong", {}, title), said);
  const problem = make("p", { role: "alert", class: "prodkit-problem", hidden: true });
  el.append(header, problem);
  const style = make("style", {}, `.${model.get("twin")} { display: none; }`);
  document.head.append(style);
  const drawers = [];
  const draw = () => {
    const state = model.get("state");
    set(problem, state.problem || "");
    problem.hidden = !state.problem;
    for (const one of drawers) one(state);
  };
  const lost = () => { // what is drawn here is newer than the static twin, so it stays, and says what it is
    el.classList.add("prodkit-lost");
    for (const field of el.querySelectorAll("button, input, select, textarea")) field.disabled = true;
    set(problem, "The kernel that this belonged to is gone. Run the cell again.");
    problem.hidden = false;
  };
  model.on("change:state", draw);
  model.on("comm_live_update", lost);
  return {
    header, said, problem, draw,
    each: (drawer) => { drawers.push(drawer); },
    end: () => { model.off("change:state", draw); model.off("comm_live_update", lost); style.remove(); },
  };
}
