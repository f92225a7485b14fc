// Parts of the page that are built anew without losing the focus, and texts that are read out only when they change.

/** Controls are the same if they have the same key, or else the same kind, name and text. */
function keyOf(control) {
  const { dataset, tagName, name, type, value, textContent } = control;
  return dataset.key ?? [tagName, name, type === "radio" ? value : "", control.ariaLabel ?? textContent].join();
}

/** Build a part anew; a focus in it moves to the control in its place, or else to `otherwise`. */
export function rebuild(part, otherwise, build) {
  const focused = document.activeElement;
  const isHeld = part.contains(focused);
  build();
  if (!isHeld || part.contains(focused)) return;
  const controls = [...part.querySelectorAll("button, a, input, textarea, summary, pre")];
  const same = controls.find((each) => keyOf(each) === keyOf(focused)) ?? otherwise;
  same.focus();
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
