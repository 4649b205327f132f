// The list of images at the left: state, the suggested one, how far we are.

import { $, element } from "./dom.js";

const WORDS = { unlabelled: "not labelled", painted: "painted", imported: "to check", accepted: "accepted" };

export class ImageList {
  #rows = new Map();
  suggested = null;

  /** @param {(id: number) => void} open */
  constructor(open) {
    this.open = open;
  }

  show(images) {
    this.images = images;
    $("image-list").replaceChildren(...images.map((image) => this.#row(image)));
    this.#progress();
  }

  #row(image) {
    const state = element("span", { className: "state" });
    const button = element("button", { type: "button", onclick: () => this.open(image.id) },
      element("img", { src: `/api/images/${image.id}/thumbnail.jpg`, alt: "", loading: "lazy" }),
      element("span", {}, element("span", { className: "name", title: image.name }, image.name), state));
    const item = element("li", {}, button);
    this.#rows.set(image.id, { item, button, state });
    this.#fill(image);
    return item;
  }

  #fill(image) {
    const { item, button, state } = this.#rows.get(image.id);
    item.className = image.state;
    const tag = this.suggested === image.id ? element("span", { className: "tag" }, "next") : null;
    state.replaceChildren(...[element("i"), WORDS[image.state], tag].filter(Boolean));
    button.setAttribute("aria-label", `${image.name}, ${WORDS[image.state]}${tag ? ", suggested next" : ""}`);
  }

  /** Take the new state of one image. */
  update(image) {
    Object.assign(this.images[image.id], { state: image.state, scribbled: image.scribbled, labelled: image.labelled });
    this.#fill(this.images[image.id]);
    this.#progress();
  }

  current(id) {
    for (const [key, { button }] of this.#rows) button.setAttribute("aria-current", key === id);
    this.#rows.get(id)?.item.scrollIntoView({ block: "nearest" });
  }

  suggest(id) {
    const old = this.suggested;
    this.suggested = id;
    for (const i of [old, id]) if (i !== null && this.images[i]) this.#fill(this.images[i]);
  }

  #progress() {
    const done = this.images.filter((i) => i.state === "accepted").length;
    $("accepted-count").textContent = `${done} of ${this.images.length} accepted`;
    $("accepted-bar").style.width = `${(100 * done) / Math.max(this.images.length, 1)}%`;
  }
}
