// Fields for labels: only those that the model uses, with its own names to complete.

let count = 0;

export function labelFields(model) {
  const fields = [];
  if (model.artists.length) fields.push(named("Artist", "artist", model.artists));
  if (model.genres.length) fields.push(named("Genre", "genre", model.genres));
  if (model.lyrics) {
    const label = element("label", "Lyrics, plain or LRC", "wide");
    const text = Object.assign(document.createElement("textarea"), { name: "lyrics", rows: 5 });
    label.append(text);
    fields.push(label);
  }
  return fields;
}

function named(title, name, names) {
  const label = element("label", title);
  const list = Object.assign(document.createElement("datalist"), { id: `names-${++count}` });
  list.append(...names.map((each) => Object.assign(document.createElement("option"), { value: each })));
  const input = Object.assign(document.createElement("input"), { name, autocomplete: "off", placeholder: "any" });
  input.setAttribute("list", list.id);
  // A name that the model does not have would silently be "unknown".
  input.addEventListener("input", () => {
    const known = !input.value.trim() || names.some((each) => same(each, input.value)) || input.value.includes(" ");
    input.setCustomValidity(known ? "" : `The model does not know ${input.value}; choose one from the list.`);
  });
  label.append(input, list);
  return label;
}

function same(a, b) {
  const plain = (text) => text.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, " ").trim();
  return plain(a) === plain(b);
}

export function element(tag, text = "", className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

export function button(text, action, className = "") {
  const made = element("button", text, className);
  made.type = "button";
  made.addEventListener("click", action);
  return made;
}

/** The values of a form that are filled in, numbers as numbers. */
export function values(form, names) {
  const found = {};
  for (const name of names) {
    const field = form.elements[name];
    const text = field?.value?.trim();
    if (text) found[name] = field.type === "number" ? Number(text) : text;
  }
  return found;
}
