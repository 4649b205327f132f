// Small pieces of the page.

export const $ = (id) => document.getElementById(id);

/** Element with attributes and children; text is never read as HTML. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made && key !== "list" && key !== "form") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((c) => c !== null && c !== undefined));
  return made;
}

/** Colour patch of a class. */
export function swatch(colour) {
  const made = element("i", { className: colour ? "swatch" : "swatch none" });
  if (colour) made.style.background = colour;
  return made;
}

export function toast(text, bad = false) {
  const made = element("div", { className: bad ? "toast bad" : "toast" }, text);
  $("toasts").append(made);
  setTimeout(() => made.remove(), bad ? 9000 : 5000);
}

/** Mark the chosen one of a radio group. */
export function choose(buttons, chosen) {
  for (const button of buttons) {
    const is = button === chosen;
    button.setAttribute("aria-checked", is);
    button.tabIndex = is ? 0 : -1;
  }
}

/** Arrow keys move through a radio group, as screen readers expect. */
export function arrows(group) {
  group.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const buttons = [...group.querySelectorAll("[role=radio]:not(:disabled)")];
    const at = buttons.indexOf(document.activeElement);
    if (!step || at < 0) return;
    event.preventDefault();
    event.stopPropagation();
    const next = buttons[(at + step + buttons.length) % buttons.length];
    next.focus();
    next.click();
  });
}

export const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)} %`;

export function pixels(count) {
  return count >= 1e6 ? `${(count / 1e6).toFixed(1)} Mpx` : count >= 1e4 ? `${Math.round(count / 1e3)} kpx` : `${count} px`;
}
