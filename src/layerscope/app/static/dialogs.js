// Questions in the middle of the page: classes, export, model, help.

import { Refusal, post } from "./api.js";
import { $, element, toast } from "./dom.js";

const KEYS = [
  ["1 … 9", "class to paint"], ["0", "unknown (correct)"], ["B", "brush"], ["E", "eraser"], ["H or space", "move the image"],
  ["[ ]", "brush size"], ["wheel, + −", "zoom"], ["F", "whole image"], ["arrows", "move"],
  ["Ctrl Z", "undo"], ["Ctrl Shift Z", "redo"], ["T", "teach"], ["C", "correct"],
  ["A", "accept image"], ["N", "next image"], ["P", "prediction"], ["U", "uncertainty"],
  ["D", "disagreement"], ["S", "strokes"], ["L", "label picture"], ["I", "image"],
];

function open(...children) {
  const dialog = $("dialog");
  dialog.replaceChildren(...children);
  if (!dialog.open) dialog.showModal();
  return dialog;
}

const close = () => $("dialog").close();
const cancel = (text = "Cancel") => element("button", { type: "button", onclick: close }, text);

/** Names and colours of the classes; `done` gets the project as it is then. */
export function askClasses(classes, colours, done) {
  const rows = element("div", { className: "class-edit" });
  const add = (name, colour) => rows.append(element("div", {},
    element("input", { type: "color", value: colour, "aria-label": "Colour" }),
    element("input", { type: "text", value: name, maxLength: 40, required: true, "aria-label": "Name of the class" })));
  classes.forEach((c) => add(c.name, c.colour));
  const more = element("button", { type: "button", className: "link" }, "Add a class");
  const full = () => { more.hidden = rows.children.length >= colours.length; };
  more.addEventListener("click", () => {
    add("", colours[rows.children.length]);
    full();
    rows.lastChild.querySelector("[type=text]").focus();
  });
  full();
  const form = element("form", {}, element("h3", {}, "Classes"),
    element("p", {}, "What is painted keeps its class when you rename it. A class cannot be taken away."),
    rows, more,
    element("div", { className: "buttons" }, cancel(), element("button", { className: "primary" }, "Save")));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const of = (kind) => [...rows.querySelectorAll(`[type=${kind}]`)].map((i) => i.value);
    await attempt(async () => {
      done(await post("/api/classes", { names: of("text"), colours: of("color") }));
      close();
    });
  });
  open(form);
}

/** Write accepted images as a data set. */
export function askExport(project) {
  const kinds = element("select", { "aria-label": "Format" },
    ...Object.entries(project.exports).map(([value, name]) => element("option", { value }, name)));
  const grounds = element("select", { "aria-label": "Background class" },
    ...project.classes.map((c) => element("option", { value: c.name, selected: c.name === project.ground }, c.name)));
  const form = element("form", {}, element("h3", {}, "Export"),
    element("p", {}, "Writes the accepted images and their labels into a new folder of the project. Label pictures are what “layerscope train phases” learns from; COCO is read by most other programs."),
    element("div", { className: "rows" },
      element("label", { className: "row" }, element("span", {}, "Format"), kinds),
      element("label", { className: "row" }, element("span", {}, "Background"), grounds)),
    element("p", { className: "small" }, "The background is the class that everything else lies on."),
    element("div", { className: "buttons" }, cancel(), element("button", { className: "primary" }, "Export")));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    await attempt(async () => {
      const answer = await post("/api/export", { kind: kinds.value, ground: grounds.value });
      const train = kinds.value === "label_pictures"
        ? [element("p", {}, "Train a network or a forest on it:"), element("code", {}, `layerscope train phases "${answer.path}" -o model.onnx`)] : [];
      tell("Exported", [element("code", {}, answer.path), ...train, ...answer.notes.map((n) => element("p", { className: "small" }, n))]);
    });
  });
  open(form);
}

/** Write the classifier of the strokes as a model file. */
export function askModel(project) {
  const form = element("form", {}, element("h3", {}, "Save the model"),
    element("p", {}, "Learns from all strokes of all images once more and writes model.onnx into the project. It labels other images like these."),
    element("div", { className: "buttons" }, cancel(), element("button", { className: "primary" }, "Save model")));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector(".primary");
    button.disabled = true;
    button.textContent = "Learning …";
    await attempt(async () => {
      const answer = await post("/api/model");
      const sure = answer.held_out == null ? [] : [element("p", {}, `Of painted pixels that it had not learned from (held out by ${answer.held_out_by}) it calls ${Math.round(100 * answer.held_out)} % by their class, each class counting the same.`)];
      tell("Model saved", [element("code", {}, answer.path), ...sure, element("p", {}, "Use it on other images, with the least probabilities of this page:"),
        element("code", {}, `layerscope classify IMAGES --model "${answer.path}"`),
        element("p", {}, "Every pixel by its most probable class, with areas and a report:"),
        element("code", {}, `layerscope run IMAGES --task phases --model "${answer.path}"`)]);
    });
    button.disabled = false;
    button.textContent = "Save model";
  });
  open(form);
}

export function showHelp() {
  const keys = KEYS.flatMap(([key, what]) => [element("span", {}, ...key.split(" ").map((k) => (k.length > 1 && k === k.toLowerCase() ? ` ${k} ` : element("kbd", {}, k)))), element("span", {}, what)]);
  open(element("article", {}, element("h3", {}, "How it works"),
    element("ol", {},
      element("li", {}, "Choose a class and paint a few strokes on what you are sure of. Do the same for a second class."),
      element("li", {}, "The program answers for the whole view. Paint where it is wrong; look at the uncertainty for where it hesitates."),
      element("li", {}, "Accept the image. It becomes a label picture; in “Correct” your strokes change that picture itself."),
      element("li", {}, "Go to the next suggested image: where the program is unsure, and what looks unlike the images that you did.")),
    element("div", { className: "keys" }, ...keys),
    element("p", { className: "small" }, "Everything is saved as you do it. On a touch screen one finger paints, two move and zoom."),
    element("div", { className: "buttons" }, cancel("Close"))));
}

/** Yes or no. */
export function confirm(title, text, yes) {
  return new Promise((resolve) => {
    const dialog = open(element("article", {}, element("h3", {}, title), element("p", {}, text),
      element("div", { className: "buttons" }, cancel(),
        element("button", { className: "primary", onclick: () => { resolve(true); close(); } }, yes))));
    dialog.addEventListener("close", () => resolve(false), { once: true });
  });
}

function tell(title, children) {
  open(element("article", {}, element("h3", {}, title), ...children,
    element("div", { className: "buttons" }, cancel("Close"))));
}

async function attempt(action) {
  try {
    await action();
  } catch (error) {
    toast(error instanceof Refusal ? error.message : "The program does not answer.", true);
  }
}
