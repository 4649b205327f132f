// The canvas in the middle: draws the layers, and turns mouse, pen, touch and keys into strokes.

import { Camera } from "./camera.js";
import { QUARTERS, joined, paintSegment, quarter } from "./strokes.js";

const LEAST_STEP = 2; // quarters of a pixel between points of a stroke
const MOST_POINTS = 4000; // of a stroke; a longer one goes on as the next

export class Stage {
  camera = new Camera();
  scene = null;
  #pointers = new Map();
  #drawing = null;
  #panning = null;
  #frame = 0;
  #hover = null;
  #fitted = true; // the whole image is shown, also after the window changed

  /**
   * @param {{tool: string, layer: string, value: number, size: number, shown: object}} brush  read at every stroke
   * @param {{stroke, start, moved, hover}} told  functions that are called
   */
  constructor(host, brush, told) {
    this.host = host;
    this.brush = brush;
    this.told = told;
    [this.picture, this.overlay, this.cursor] = ["picture", "overlay", "cursor"].map((name) => {
      const canvas = document.createElement("canvas");
      canvas.className = `layer ${name}`;
      host.append(canvas);
      return canvas;
    });
    this.scratch = document.createElement("canvas");
    new ResizeObserver(() => this.#resize()).observe(host);
    this.#listen();
  }

  /** Show an image: {image, picture, scribbles, labels, prediction}. */
  show(scene) {
    const fresh = this.scene?.image.id !== scene?.image.id;
    this.scene = scene;
    this.#drawing = null;
    if (scene && fresh) this.#fit();
    this.redraw();
  }

  fit() {
    if (!this.scene) return;
    this.#fit();
    this.#moved();
  }

  #fit() {
    this.camera.fit(this.scene.image);
    this.#fitted = true;
  }

  zoomBy(factor, x = this.camera.width / 2, y = this.camera.height / 2) {
    if (!this.scene) return;
    this.#fitted = false;
    this.camera.zoomAt(factor, x, y, this.scene.image);
    this.#moved();
  }

  panBy(dx, dy) {
    if (!this.scene) return;
    this.#fitted = false;
    this.camera.pan(dx, dy, this.scene.image);
    this.#moved();
  }

  get level() {
    return this.scene.picture.levelFor(this.camera.zoom * this.ratio);
  }

  redraw() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  #moved() {
    this.redraw();
    this.told.moved();
  }

  #resize() {
    const { width, height } = this.host.getBoundingClientRect();
    if (!width || !height) return;
    this.ratio = Math.min(window.devicePixelRatio || 1, 2);
    for (const canvas of [this.picture, this.overlay, this.cursor, this.scratch]) {
      canvas.width = Math.round(width * this.ratio);
      canvas.height = Math.round(height * this.ratio);
    }
    this.camera.resize(width, height);
    if (this.#fitted && this.scene) this.#fit();
    this.#moved();
  }

  #draw() {
    for (const canvas of [this.picture, this.overlay]) {
      const context = canvas.getContext("2d");
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.clearRect(0, 0, canvas.width, canvas.height);
    }
    if (!this.scene || !this.camera.width) return;
    const { shown } = this.brush;
    const context = this.#context(this.picture, 2);
    if (shown.picture) this.scene.picture.draw(context, this.camera.box(), this.camera.zoom * this.ratio);
    this.#drawOverlay(shown);
    this.#drawCursor();
  }

  #drawOverlay(shown) {
    const { scribbles, labels, prediction } = this.scene;
    const box = this.camera.box();
    const to = this.overlay.getContext("2d");
    const layers = [
      [shown.prediction, (c) => prediction?.draw(c, box, this.level, "classes")],
      [labels ? shown.labels : 0, (c) => labels.draw(c, box)],
      [shown.uncertainty, (c) => prediction?.draw(c, box, this.level, "uncertainty")],
      [shown.disagreement, (c) => prediction?.draw(c, box, this.level, "disagreement", (i) => this.#told(i))],
      [shown.scribbles, (c) => scribbles.draw(c, box)],
    ];
    for (const [opacity, draw] of layers) {
      if (!opacity) continue;
      const blank = this.scratch.getContext("2d");
      blank.setTransform(1, 0, 0, 1, 0, 0);
      blank.clearRect(0, 0, this.scratch.width, this.scratch.height);
      draw(this.#context(this.scratch, 2));
      to.globalAlpha = opacity;
      to.drawImage(this.scratch, 0, 0);
    }
    to.globalAlpha = 1;
  }

  /** What a person said of a pixel: strokes first, then the label picture. */
  #told(i) {
    return this.scene.scribbles.values[i] || (this.scene.labels?.values[i] ?? 0);
  }

  #context(canvas, crispFrom) {
    const context = canvas.getContext("2d");
    this.camera.apply(context, this.ratio);
    context.imageSmoothingEnabled = this.camera.zoom * this.ratio < crispFrom;
    context.imageSmoothingQuality = "high";
    return context;
  }

  #drawCursor() {
    const context = this.cursor.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.cursor.width, this.cursor.height);
    if (!this.#hover || !this.scene || this.brush.tool === "move") return;
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    const radius = Math.max((this.brush.size / 2) * this.camera.zoom, 1.5);
    for (const [ink, wide] of [["rgba(0,0,0,.75)", 3], [this.brush.ink, 1.5]]) {
      context.beginPath();
      context.arc(this.#hover.x, this.#hover.y, radius, 0, 2 * Math.PI);
      context.lineWidth = wide;
      context.strokeStyle = ink;
      context.setLineDash(this.brush.tool === "eraser" ? [4, 3] : []);
      context.stroke();
    }
  }

  #listen() {
    const on = (name, react, options) => this.host.addEventListener(name, react, options);
    on("pointerdown", (e) => this.#down(e));
    on("pointermove", (e) => this.#move(e));
    for (const name of ["pointerup", "pointercancel"]) on(name, (e) => this.#up(e));
    on("pointerleave", () => this.#hovers(null));
    on("contextmenu", (e) => e.preventDefault());
    on("wheel", (e) => {
      e.preventDefault();
      const at = this.#place(e);
      const lines = e.deltaMode === 1 ? 30 : 1;
      this.zoomBy(Math.exp(-Math.max(-240, Math.min(240, e.deltaY * lines)) * (e.ctrlKey ? 0.01 : 0.0022)), at.x, at.y);
    }, { passive: false });
  }

  #place(event) {
    const box = this.host.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  #hovers(place) {
    this.#hover = place;
    this.#drawCursor();
    this.told.hover(place && this.scene ? this.camera.toImage(place.x, place.y) : null);
  }

  #down(event) {
    if (!this.scene) return;
    this.host.focus({ preventScroll: true });
    this.host.setPointerCapture(event.pointerId);
    const place = this.#place(event);
    this.#pointers.set(event.pointerId, place);
    if (event.pointerType === "touch" && this.#pointers.size === 2) {
      this.#cancel();
      this.#panning = null;
      return;
    }
    const hand = event.button === 1 || event.button === 2 || this.brush.tool === "move" || this.brush.spaceDown;
    if (hand) this.#panning = place;
    else if (this.#pointers.size === 1 && event.button === 0) this.#begin(place);
  }

  #move(event) {
    const place = this.#place(event);
    const before = this.#pointers.get(event.pointerId);
    if (before && this.#pointers.size === 2) this.#pinch(event.pointerId, place);
    if (before) this.#pointers.set(event.pointerId, place);
    if (this.#panning && this.#pointers.size === 1) {
      this.panBy(place.x - this.#panning.x, place.y - this.#panning.y);
      this.#panning = place;
    } else if (this.#drawing) {
      const all = event.getCoalescedEvents?.() ?? [];
      for (const e of all.length ? all : [event]) this.#extend(this.#place(e));
    }
    if (event.pointerType !== "touch") this.#hovers(place);
  }

  #up(event) {
    this.#pointers.delete(event.pointerId);
    this.#panning = null;
    if (event.type === "pointercancel") this.#cancel();
    else this.#finish();
  }

  #pinch(id, place) {
    const [other] = [...this.#pointers].filter(([key]) => key !== id).map(([, p]) => p);
    const before = this.#pointers.get(id);
    const distance = (a) => Math.hypot(a.x - other.x, a.y - other.y);
    this.panBy((place.x - before.x) / 2, (place.y - before.y) / 2);
    this.zoomBy(distance(place) / Math.max(distance(before), 1), (place.x + other.x) / 2, (place.y + other.y) / 2);
  }

  #begin(place) {
    const { layer, tool, value } = this.brush;
    const raster = layer === "scribbles" ? this.scene.scribbles : this.scene.labels;
    if (!raster || !this.told.start()) return;
    const diameter = Math.round(this.brush.size * QUARTERS);
    this.#drawing = {
      raster, layer, diameter,
      value: tool === "eraser" ? 0 : value,
      ink: tool === "eraser" || value === 255 ? 0 : value,
      points: [], before: new Map(), box: null,
    };
    this.#extend(place);
  }

  #extend(place) {
    const stroke = this.#drawing;
    const [x, y] = this.camera.toImage(place.x, place.y).map(quarter);
    const n = stroke.points.length;
    const [x0, y0] = n ? stroke.points.slice(-2) : [x, y];
    if (n && Math.abs(x - x0) + Math.abs(y - y0) < LEAST_STEP) return;
    stroke.points.push(x, y);
    const { values, width, height } = stroke.raster;
    const box = paintSegment(x0, y0, x, y, stroke.diameter, height, width, (row, column) => {
      const i = row * width + column;
      if (!stroke.before.has(i)) stroke.before.set(i, values[i]);
      values[i] = stroke.ink;
    });
    stroke.box = joined(stroke.box, box);
    stroke.raster.touch(box);
    this.redraw();
    if (stroke.points.length >= 2 * MOST_POINTS) {
      this.#finish();
      this.#begin(place);
    }
  }

  #finish() {
    const stroke = this.#drawing;
    this.#drawing = null;
    if (stroke?.before.size) this.told.stroke(stroke);
  }

  /** Take back a stroke that is not finished, e.g. as a second finger came down. */
  #cancel() {
    const stroke = this.#drawing;
    this.#drawing = null;
    if (stroke) this.takeBack(stroke);
  }

  takeBack(stroke) {
    for (const [i, value] of stroke.before) stroke.raster.values[i] = value;
    stroke.raster.touch(stroke.box);
    this.redraw();
  }
}
