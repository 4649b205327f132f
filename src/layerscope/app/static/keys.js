// Keys of the page; none of them works while somebody types.

import { showHelp } from "./dialogs.js";
import { UNSURE_VALUE } from "./panels.js";

const TYPING = "input[type=text], select, dialog[open] *";
const PAN = 60;

export function listenKeys(page) {
  const { stage, brush, layers } = page;
  const keys = {
    b: () => page.setTool("brush"),
    e: () => page.setTool("eraser"),
    h: () => page.setTool("move"),
    t: () => page.setMode("teach"),
    c: () => page.setMode("correct"),
    a: () => page.accept(),
    n: () => page.next(),
    p: () => layers.toggle("prediction"),
    u: () => layers.toggle("uncertainty"),
    d: () => layers.toggle("disagreement"),
    s: () => layers.toggle("scribbles"),
    l: () => layers.toggle("labels"),
    i: () => layers.toggle("picture"),
    f: () => stage.fit(),
    "[": () => page.setSize(Math.min(brush.size - 1, brush.size / 1.25)),
    "]": () => page.setSize(Math.max(brush.size + 1, brush.size * 1.25)),
    "+": () => stage.zoomBy(1.5),
    "=": () => stage.zoomBy(1.5),
    "-": () => stage.zoomBy(1 / 1.5),
    "?": showHelp,
  };
  const moves = { ArrowLeft: [PAN, 0], ArrowRight: [-PAN, 0], ArrowUp: [0, PAN], ArrowDown: [0, -PAN] };

  window.addEventListener("keydown", (event) => {
    if (event.target.closest?.(TYPING) || event.altKey || document.querySelector("dialog[open]")) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (event.ctrlKey || event.metaKey) {
      if (key === "z" || key === "y") {
        event.preventDefault();
        page.undo(key === "y" || event.shiftKey ? "redo" : "undo");
      }
      return;
    }
    const onStage = event.target === stage.host || event.target === document.body;
    if (key === " " && onStage) {
      event.preventDefault();
      brush.spaceDown = true;
      stage.host.classList.add("moving");
    } else if (moves[key] && onStage) {
      event.preventDefault();
      stage.panBy(...moves[key]);
    } else if (key === "0") page.pick(UNSURE_VALUE);
    else if (/^[1-9]$/.test(key)) page.pick(Number(key));
    else keys[key]?.();
  });

  const release = () => {
    brush.spaceDown = false;
    stage.host.classList.toggle("moving", brush.tool === "move");
  };
  window.addEventListener("keyup", (event) => {
    if (event.key === " ") release();
  });
  window.addEventListener("blur", release);
}
