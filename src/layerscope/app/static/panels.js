// The panel at the right: classes, prediction, layers, look, facts.

import { $, element, percent, pixels, swatch } from "./dom.js";
import { lengthText } from "./scalebar.js";

export const UNSURE_VALUE = 255;

export const LAYERS = [
  ["picture", "Image", 1, "I"], ["scribbles", "Strokes", 1, "S"], ["prediction", "Prediction", 0.4, "P"],
  ["labels", "Label picture", 0.5, "L"], ["uncertainty", "Uncertainty", 0.8, "U"], ["disagreement", "Disagreement", 0.9, "D"],
];
const OFF_AT_FIRST = new Set(["uncertainty", "disagreement"]);
const TITLES = {
  uncertainty: "Where the two most probable classes are near each other",
  disagreement: "Where the prediction is not what you painted or accepted",
};

/** Rows of the classes; in the mode "correct" also one for unknown pixels. */
export function showClasses(classes, counts, mode, value, pick) {
  const rows = classes.map((c) => [c.value, String(c.value), c.name, c.colour, counts[c.name]]);
  if (mode === "correct") rows.push([UNSURE_VALUE, "0", "unknown", null, undefined]);
  $("classes").replaceChildren(...rows.map(([v, key, name, colour, count]) =>
    element("button", {
      type: "button", role: "radio", "aria-checked": v === value, tabIndex: v === value ? 0 : -1,
      onclick: () => pick(v), title: `${name} (${key})`,
    },
    element("kbd", {}, key), swatch(colour), element("span", {}, name),
    element("span", { className: "count" }, count ? pixels(count) : ""))));
}

/** The classes once more, small, where the panel is not in view. */
export function showChips(classes, mode, value, pick) {
  const rows = classes.map((c) => [c.value, c.name, c.colour]);
  if (mode === "correct") rows.push([UNSURE_VALUE, "unknown", null]);
  $("chips").replaceChildren(...rows.map(([v, name, colour]) => element("button", {
    type: "button", role: "radio", "aria-checked": v === value, "aria-label": name, title: name, onclick: () => pick(v),
  }, swatch(colour))));
}

/** Checkbox and opacity of every layer. */
export class LayerPanel {
  shown = {};
  #boxes = {};

  constructor(redraw) {
    this.redraw = redraw;
    $("layers").replaceChildren(...LAYERS.map((layer) => this.#row(...layer)));
  }

  #row(name, title, opacity, key) {
    const box = element("input", { type: "checkbox", id: `layer-${name}`, checked: !OFF_AT_FIRST.has(name) });
    const slider = element("input", {
      type: "range", min: 5, max: 100, value: 100 * opacity, "aria-label": `Opacity of ${title}`,
    });
    if (name === "picture") slider.style.visibility = "hidden";
    const read = () => {
      this.shown[name] = box.checked ? slider.value / 100 : 0;
      this.redraw();
    };
    box.addEventListener("change", read);
    slider.addEventListener("input", read);
    this.shown[name] = box.checked ? opacity : 0;
    this.#boxes[name] = box;
    return element("div", { className: "row layer-row", title: TITLES[name] ?? "" }, box,
      element("label", { htmlFor: box.id }, title, element("kbd", {}, key)), slider);
  }

  toggle(name, on) {
    const box = this.#boxes[name];
    box.checked = on ?? !box.checked;
    box.dispatchEvent(new Event("change"));
  }
}

/** Sliders of the least probabilities. */
export function showThresholds(classes, thresholds, change, save) {
  $("thresholds").replaceChildren(...classes.map((c) => {
    const slider = element("input", {
      type: "range", min: 1, max: 100, value: Math.round(100 * thresholds[c.name]), "aria-label": `Least probability of ${c.name}`,
    });
    const text = element("output", {}, `${slider.value} %`);
    slider.addEventListener("input", () => {
      text.textContent = `${slider.value} %`;
      change(c.name, slider.value / 100);
    });
    slider.addEventListener("change", save);
    return element("div", { className: "row threshold" }, swatch(c.colour), element("span", {}, c.name), slider, text);
  }));
}

/** A bar of the shares of the classes, the last share of what has none. */
export function showAreas(classes, shares, missing, what) {
  if (!shares) {
    $("areas").replaceChildren(element("p", { className: "small" }, missing || "No prediction here yet."));
    return;
  }
  const rows = classes.map((c, k) => [c.colour, c.name, shares[k]]);
  if (shares[classes.length] > 0) rows.push([null, "unknown", shares[classes.length]]);
  const stack = element("div", { className: "stack", role: "img", "aria-label": "Shares of the classes" },
    ...rows.filter(([colour]) => colour).map(([colour, , share]) => {
      const part = element("i");
      part.style.cssText = `width:${100 * share}%;background:${colour}`;
      return part;
    }));
  const key = rows.flatMap(([colour, name, share]) => [
    swatch(colour), element("span", {}, name), element("span", { className: "count" }, percent(share))]);
  $("areas").replaceChildren(stack, element("div", { className: "key" }, ...key),
    element("p", { className: "small" }, what));
}

/** Where the prediction comes from, if there is a choice. */
export function showSources(sources, source, pick) {
  const place = $("source-place");
  if (sources.length < 2) {
    place.replaceChildren();
    return;
  }
  const names = { strokes: "my strokes", model: "the model file" };
  const options = sources.map((s) => element("option", { value: s, selected: s === source }, names[s]));
  place.replaceChildren(element("select", {
    "aria-label": "Prediction from", onchange: (e) => pick(e.target.value),
  }, ...options));
}

/** Size, scale, what is labelled. */
export function showFacts(image, classes) {
  const size = image.pixel_size_nm;
  const scale = size ? `${lengthText(Math.sqrt(size[0] * size[1]))} (${image.pixel_size_source})` : "not known";
  const rows = [["Size", `${image.width} × ${image.height} px`], ["Pixel size", scale]];
  if (size) {
    rows.push(["Field", `${lengthText(image.width * size[1])} × ${lengthText(image.height * size[0])}`]);
    for (const c of classes) {
      const area = (image.labelled[c.name] ?? 0) * size[0] * size[1];
      if (area) rows.push([`Area, ${c.name}`, areaText(area)]);
    }
  }
  $("facts").replaceChildren(
    ...rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]),
    ...image.notes.map((note) => element("dd", { className: "note" }, note)));
}

function areaText(nm2) {
  return nm2 >= 1e5 ? `${Number((nm2 / 1e6).toPrecision(3))} µm²` : `${Number(nm2.toPrecision(3))} nm²`;
}
