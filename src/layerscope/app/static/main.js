// The page of a labelling project: opens images, sends strokes, shows answers.

import { EditQueue, Refusal, get, getBytes, post, postFrames, postLines } from "./api.js";
import { askClasses, askExport, askModel, confirm, showHelp } from "./dialogs.js";
import { $, arrows, choose, element, percent, toast } from "./dom.js";
import { ImageList } from "./images.js";
import { listenKeys } from "./keys.js";
import { LayerPanel, UNSURE_VALUE, showAreas, showChips, showClasses, showFacts, showSources, showThresholds } from "./panels.js";
import { Picture } from "./picture.js";
import { Prediction } from "./prediction.js";
import { LabelRaster } from "./raster.js";
import { lengthText, roundLength } from "./scalebar.js";
import { Stage } from "./stage.js";

const COLOURS = ["#009e73", "#d55e00", "#56b4e9", "#f0e442", "#cc79a7", "#e69f00", "#0072b2", "#ffffff", "#999999"];
const LARGEST_BRUSH = 400;
const CLIENT = Array.from(crypto.getRandomValues(new Uint32Array(2)), (n) => n.toString(36)).join("");

class Page {
  project = null;
  scene = null;
  mode = "teach";
  source = "strokes";
  brush = { tool: "brush", layer: "scribbles", value: 1, size: 8, ink: "#fff", spaceDown: false, shown: {} };
  #asking = null;
  #askTimer = 0;
  #areasTimer = 0;
  #busy = false;

  constructor() {
    this.layers = new LayerPanel(() => this.stage?.redraw());
    this.brush.shown = this.layers.shown;
    this.stage = new Stage($("stage"), this.brush, {
      start: () => this.#mayPaint(),
      stroke: (stroke) => this.#stroked(stroke),
      moved: () => this.#moved(),
      hover: (point) => this.#readout(point),
    });
    this.queue = new EditQueue((text, lost) => this.#trouble(text, lost), (n) => this.#saving(n));
    this.list = new ImageList((id) => this.open(id));
    this.#wire();
  }

  async start() {
    this.#take(await get("/api/project"));
    this.list.show(this.project.images);
    this.project.notes.forEach((note) => toast(note, true));
    const hash = Number(location.hash.slice(1));
    const first = location.hash && this.project.images[hash] ? hash : this.project.images.find((i) => i.state !== "accepted")?.id ?? 0;
    await this.open(first);
    this.#saving(0);
    this.suggest();
  }

  #take(project) {
    this.project = project;
    $("project-name").textContent = project.name;
    document.title = `${project.name} – layerscope`;
  }

  // --- images -----------------------------------------------------------------------------------

  async open(id) {
    await this.#guard(async () => {
      this.#stopAsking();
      const image = await get(`/api/images/${id}`);
      const scene = {
        image,
        picture: new Picture(image, () => this.stage.redraw(), (text) => toast(text, true)),
        scribbles: new LabelRaster(image.height, image.width),
        labels: null,
        prediction: new Prediction(image.height, image.width, this.project.classes),
      };
      scene.picture.view = $("view").value;
      scene.scribbles.recolour(this.project.classes);
      scene.scribbles.put(whole(image), await getBytes(`/api/images/${id}/pixels/scribbles`));
      this.scene = scene;
      await this.#fetchLabels();
      history.replaceState(null, "", `#${id}`);
      this.stage.show(scene);
      this.list.current(id);
      this.#setMode(image.state === "imported" || image.state === "accepted" ? "correct" : "teach");
      this.#refresh();
      this.#moved();
      for (const side of ["images", "panel"]) this.#slide(side, false);
    });
  }

  /** Label picture of the image as the program has it; none is a raster of nothing. */
  async #fetchLabels(box = null) {
    const { image } = this.scene;
    if (image.state !== "accepted" && image.state !== "imported") {
      this.scene.labels = null;
      return;
    }
    const part = box ?? whole(image);
    const bytes = await getBytes(`/api/images/${image.id}/pixels/labels?box=${part.top},${part.left},${part.bottom},${part.right}`);
    if (!this.scene.labels) {
      this.scene.labels = new LabelRaster(image.height, image.width, true);
      this.scene.labels.recolour(this.project.classes);
    }
    this.scene.labels.put(part, bytes);
  }

  async suggest() {
    try {
      const found = await get("/api/suggestions");
      this.list.suggest(found[0]?.id ?? null);
      $("next-why").textContent = "";
      if (found[0]) $("next").title = `Next suggested image (N): uncertainty ${percent(found[0].uncertainty, 0)}, unlike the labelled ones ${percent(found[0].distance, 0)}`;
    } catch {
      this.list.suggest(null);
    }
  }

  async next() {
    const { images } = this.project;
    const here = this.scene?.image.id;
    let id = this.list.suggested;
    if (id === null || id === here || images[id].state === "accepted") {
      const order = [...images.slice(here + 1), ...images.slice(0, here)];
      id = order.find((i) => i.state === "unlabelled")?.id ?? order.find((i) => i.state !== "accepted")?.id ?? null;
    }
    if (id === null) toast("Every image is accepted.");
    else await this.open(id);
  }

  // --- strokes ----------------------------------------------------------------------------------

  #mayPaint() {
    this.#stopAsking();
    return !this.#busy;
  }

  async #stroked(stroke) {
    const { scene } = this;
    const { layer, value, diameter, points, box } = stroke;
    const answer = await this.queue.send(`/api/images/${scene.image.id}/strokes`, { layer, value, diameter, points }, true);
    if (!answer) {
      this.stage.takeBack(stroke);
      return;
    }
    const restored = layer === "corrections" && value === 0;
    await this.#took(scene, answer, restored ? box : null);
  }

  /** Take what an edit changed; a box of the labels is fetched anew. */
  async #took(scene, answer, box) {
    Object.assign(scene.image, answer);
    this.list.update(answer);
    if (scene !== this.scene) return;
    if (box) await this.#guard(() => this.#fetchLabels(box));
    this.#refresh();
    if (!this.queue.length) this.#ask();
  }

  async undo(what = "undo") {
    const { scene } = this;
    if (!scene?.image[what === "undo" ? "can_undo" : "can_redo"] || this.#busy) return;
    this.#stopAsking();
    const answer = await this.queue.send(`/api/images/${scene.image.id}/${what}`);
    if (!answer || scene !== this.scene) return;
    const [top, left, bottom, right] = answer.box;
    const box = { top, left, bottom, right };
    if (answer.layer === "scribbles" && bottom > top) {
      const bytes = await getBytes(`/api/images/${scene.image.id}/pixels/scribbles?box=${answer.box.join(",")}`);
      scene.scribbles.put(box, bytes);
    }
    await this.#took(scene, answer, answer.layer === "scribbles" || bottom <= top ? null : box);
    if (!["accepted", "imported"].includes(answer.state) && this.mode === "correct") this.#setMode("teach");
  }

  // --- accept -----------------------------------------------------------------------------------

  async accept() {
    const { scene } = this;
    const step = this.#step;
    if (this.#busy || !["prediction", "labels"].includes(step)) return;
    const source = step === "labels" ? "labels" : this.source;
    this.#stopAsking();
    this.#work("Accepting …");
    await this.#guard(async () => {
      for await (const line of postLines(`/api/images/${scene.image.id}/accept`, { source })) {
        if (line.error) throw new Refusal(line.error);
        if (line.progress !== undefined) this.#work(`Accepting: ${percent(line.progress, 0)} computed`);
        if (line.done) {
          this.#busy = false;
          if (this.list.suggested === scene.image.id) this.list.suggest(null);
          await this.#took(scene, line.done, whole(scene.image));
          this.#setMode("correct");
          toast(`${scene.image.name} is accepted. Correct it, or go to the next image (N).`);
        }
      }
    });
    this.#work("");
    this.suggest();
    this.#moved();
  }

  async withdraw() {
    const yes = await confirm("Take the acceptance back?", "The label picture and its corrections are removed; your strokes stay. Undo brings them back.", "Take it back");
    if (!yes) return;
    const { scene } = this;
    const answer = await this.queue.send(`/api/images/${scene.image.id}/withdraw`);
    if (!answer) return;
    scene.labels = null;
    await this.#took(scene, answer, null);
    this.#setMode("teach");
    this.suggest();
  }

  // --- answers ----------------------------------------------------------------------------------

  #moved() {
    this.#scale();
    clearTimeout(this.#askTimer);
    this.#askTimer = setTimeout(() => this.#ask(), 150);
    this.#areas();
  }

  #stopAsking() {
    clearTimeout(this.#askTimer);
    this.#asking?.abort();
    this.#asking = null;
    if (!this.#busy) this.#work("");
  }

  async #ask() {
    const { scene } = this;
    if (!scene || this.#busy || this.queue.length || !this.stage.camera.width) return;
    this.#stopAsking();
    const view = this.stage.camera.box();
    const box = { top: Math.max(view.top, 0), left: Math.max(view.left, 0), bottom: Math.min(view.bottom, scene.image.height), right: Math.min(view.right, scene.image.width) };
    const { level } = this.stage;
    const { revision } = scene.image;
    const state = `${this.source} ${revision}`;
    if (box.bottom <= box.top || box.right <= box.left || scene.prediction.isFresh(level, box, state)) return;
    const body = { source: this.source, ...box, level, client: CLIENT };
    if (!scene.image.sources.includes(this.source)) {
      post(`/api/images/${scene.image.id}/prepare`, body).catch(() => {}); // only sooner, never needed
      return;
    }
    const asking = new AbortController();
    this.#asking = asking;
    const late = setTimeout(() => this.#work("Looking …"), 250);
    try {
      for await (const [head, bytes] of postFrames(`/api/images/${scene.image.id}/answer`, body, asking.signal)) {
        if (scene !== this.scene || asking.signal.aborted) return;
        if (head.error) throw new Refusal(head.error);
        if (head.done) {
          if (head.whole) scene.prediction.answered(level, box, state);
          break;
        }
        if (head.classes === scene.prediction.count) scene.prediction.put(head, bytes);
        this.stage.redraw();
        this.#areasSoon();
      }
    } catch (error) {
      if (error.name !== "AbortError") this.#trouble(error instanceof Refusal ? error.message : "The program does not answer.", !(error instanceof Refusal));
    } finally {
      clearTimeout(late);
      if (this.#asking === asking) {
        this.#asking = null;
        if (!this.#busy) this.#work("");
        this.#areas();
      }
    }
  }

  #areasSoon() {
    this.#areasTimer ||= setTimeout(() => {
      this.#areasTimer = 0;
      this.#areas();
    }, 200);
  }

  #areas() {
    if (!this.scene || !this.stage.camera.width) return;
    const { prediction, image } = this.scene;
    const { classes } = this.project;
    if (this.mode === "correct") {
      showAreas(classes, labelled(image, classes), "", "of the label picture, whole image");
      return;
    }
    const shares = prediction.areas(this.stage.camera.box(), this.stage.level);
    showAreas(classes, shares, image.missing, "of the prediction, in view");
  }

  // --- what is shown ----------------------------------------------------------------------------

  #refresh() {
    const { image } = this.scene;
    const { classes } = this.project;
    if (!image.sources.includes(this.source)) this.source = image.sources[0] ?? "strokes";
    showClasses(classes, this.mode === "teach" ? image.scribbled : image.labelled, this.mode, this.brush.value, (v) => this.pick(v));
    showChips(classes, this.mode, this.brush.value, (v) => this.pick(v));
    showSources(image.sources, this.source, (source) => {
      this.source = source;
      this.scene.prediction = new Prediction(image.height, image.width, classes);
      this.#thresholds();
      this.stage.redraw();
      this.#ask();
    });
    showThresholds(classes, image.thresholds, (name, value) => {
      image.thresholds[name] = value;
      this.#thresholds();
    }, () => this.queue.send(`/api/images/${image.id}/thresholds`, { thresholds: image.thresholds }));
    this.#thresholds();
    showFacts(image, classes);
    $("undo").disabled = !image.can_undo;
    $("redo").disabled = !image.can_redo;
    const placed = image.state === "accepted" || image.state === "imported";
    $("mode-correct").disabled = !placed;
    $("mode-correct").title = placed ? "Strokes change the label picture itself (C)" : "Accept the image first; then its label picture can be corrected";
    this.#decide();
    this.#hint();
    this.stage.redraw();
  }

  /** What the large button does now. */
  get #step() {
    const { image } = this.scene;
    if (this.mode === "teach") return image.sources.length ? "prediction" : "";
    if (image.state === "imported") return "labels";
    return this.project.images.some((i) => i.state !== "accepted") ? "next" : "";
  }

  #decide() {
    const { image } = this.scene;
    const button = $("accept");
    const again = image.state === "accepted";
    const [text, key] = {
      prediction: [again ? "Accept the new prediction" : "Accept image", "A"],
      labels: ["Accept label picture", "A"],
      next: ["Next image", "N"],
      "": [again ? "All images are accepted" : "Accept image", "A"],
    }[this.#step];
    button.disabled = this.#busy || !this.#step;
    button.replaceChildren(`${text} `, element("kbd", {}, key));
    $("quick-accept").textContent = text;
    $("quick-accept").disabled = button.disabled;
    $("withdraw").hidden = !again;
  }

  #thresholds() {
    const { prediction, image } = this.scene;
    prediction.setThresholds(this.project.classes.map((c) => image.thresholds[c.name]));
    this.stage.redraw();
    this.#areas();
  }

  #hint() {
    const { image } = this.scene;
    let text = "";
    if (!image.sources.length && this.mode === "teach") text = image.missing;
    else if (image.state === "imported") text = "This label picture was imported. Paint over what is wrong, then accept it.";
    $("hint").hidden = !text;
    $("hint").textContent = text;
  }

  #setMode(mode) {
    if (mode === "correct" && !["accepted", "imported"].includes(this.scene?.image.state)) return;
    this.mode = mode;
    this.brush.layer = mode === "teach" ? "scribbles" : "corrections";
    if (mode === "teach" && this.brush.value === UNSURE_VALUE) this.brush.value = 1;
    choose([$("mode-teach"), $("mode-correct")], $(`mode-${mode}`));
    $("areas-title").textContent = mode === "teach" ? "Prediction" : "Label picture";
    $("threshold-box").hidden = mode === "correct";
    this.layers.toggle("prediction", mode === "teach");
    this.layers.toggle("labels", mode === "correct");
    this.layers.toggle("scribbles", mode === "teach");
    if (this.scene) {
      this.#refresh();
      this.#areas();
    }
    this.#ink();
  }

  pick(value) {
    const known = this.project.classes.some((c) => c.value === value) || (value === UNSURE_VALUE && this.mode === "correct");
    if (!known) return;
    this.brush.value = value;
    if (this.brush.tool !== "brush") this.setTool("brush");
    this.#ink();
    if (this.scene) this.#refresh();
  }

  setMode(mode) {
    if (mode === "correct" && $("mode-correct").disabled) toast("Accept the image first; then its label picture can be corrected.");
    else this.#setMode(mode);
  }

  setTool(tool) {
    this.brush.tool = tool;
    choose(["brush", "eraser", "move"].map((t) => $(`tool-${t}`)), $(`tool-${tool}`));
    $("stage").classList.toggle("moving", tool === "move");
    this.#ink();
  }

  #ink() {
    const found = this.project?.classes.find((c) => c.value === this.brush.value);
    this.brush.ink = this.brush.tool === "eraser" ? "#fff" : found?.colour ?? "#9aa6b4";
    this.stage.redraw();
  }

  setSize(size) {
    this.brush.size = Math.min(Math.max(Math.round(size), 1), LARGEST_BRUSH);
    const place = (100 * Math.log(this.brush.size)) / Math.log(LARGEST_BRUSH);
    $("size").value = place;
    $("size-text").textContent = `${this.brush.size} px`;
    const dot = Math.min(Math.max(3 + place / 5, 3), 22);
    $("size-dot").style.cssText = `width:${dot}px;height:${dot}px`;
    this.stage.redraw();
  }

  #scale() {
    if (!this.scene || !this.stage.camera.width) return;
    const { image } = this.scene;
    const { zoom } = this.stage.camera;
    $("zoom-text").textContent = `${zoom >= 0.1 ? Math.round(100 * zoom) : (100 * zoom).toFixed(1)} %`;
    if (!image.pixel_size_nm) {
      $("scalebar").textContent = "no scale";
      return;
    }
    const bar = roundLength(Math.min(160, this.stage.camera.width / 5), image.pixel_size_nm[1] / zoom);
    $("scalebar").textContent = lengthText(bar.nm);
    const line = document.createElement("i");
    line.style.width = `${bar.px}px`;
    $("scalebar").append(line);
  }

  #readout(point) {
    const out = $("readout");
    const { scene } = this;
    const [x, y] = point ? point.map(Math.floor) : [-1, -1];
    if (!scene || x < 0 || y < 0 || x >= scene.image.width || y >= scene.image.height) {
      out.textContent = "";
      return;
    }
    const shares = scene.prediction.at(y, x);
    const named = shares?.map((p, k) => [p, this.project.classes[k].name]).sort((a, b) => b[0] - a[0]).slice(0, 2)
      .map(([p, name]) => `${name} ${percent(p, 0)}`).join(", ");
    out.textContent = `x ${x}  y ${y}${named ? `  ·  ${named}` : ""}`;
  }

  #saving(n) {
    const out = $("saved");
    out.className = n ? "saved busy" : "saved";
    out.textContent = n ? "saving …" : "all changes saved";
    if (!n) $("banner").hidden = true;
  }

  #trouble(text, lost) {
    if (!lost) {
      toast(text, true);
      return;
    }
    $("banner").textContent = text;
    $("banner").hidden = false;
    $("saved").className = "saved bad";
    $("saved").textContent = "not saved";
  }

  #work(text) {
    $("working").hidden = !text;
    $("working").lastChild.textContent = text;
    this.#busy = text.startsWith("Accepting");
    if (this.scene) this.#decide();
  }

  async #guard(action) {
    try {
      await action();
    } catch (error) {
      this.#trouble(error instanceof Refusal ? error.message : `The program does not answer (${error.message}).`, !(error instanceof Refusal));
    }
  }

  // --- controls ---------------------------------------------------------------------------------

  #slide(side, open) {
    const button = $(side === "images" ? "show-images" : "show-panel");
    $(side).classList.toggle("open", open ?? !$(side).classList.contains("open"));
    button.setAttribute("aria-expanded", $(side).classList.contains("open"));
  }

  #look() {
    const [b, c] = [Number($("brightness").value), Number($("contrast").value)];
    this.stage.picture.style.filter = b || c ? `brightness(${2 ** (b / 60)}) contrast(${2 ** (c / 45)})` : "";
  }

  #wire() {
    const click = (id, react) => $(id).addEventListener("click", react);
    click("undo", () => this.undo());
    click("redo", () => this.undo("redo"));
    click("accept", () => (this.#step === "next" ? this.next() : this.accept()));
    click("quick-accept", () => $("accept").click());
    click("withdraw", () => this.withdraw());
    click("next", () => this.next());
    click("mode-teach", () => this.setMode("teach"));
    click("mode-correct", () => this.setMode("correct"));
    for (const tool of ["brush", "eraser", "move"]) click(`tool-${tool}`, () => this.setTool(tool));
    click("zoom-in", () => this.stage.zoomBy(1.5));
    click("zoom-out", () => this.stage.zoomBy(1 / 1.5));
    click("zoom-fit", () => this.stage.fit());
    click("zoom-text", () => this.stage.zoomBy(1 / this.stage.camera.zoom));
    click("open-help", showHelp);
    click("open-export", async () => {
      await this.#guard(async () => askExport(Object.assign(this.project, await get("/api/project"))));
    });
    click("thresholds-for-all", async () => {
      const saved = await this.queue.send("/api/thresholds", { thresholds: this.scene.image.thresholds });
      if (saved) toast("These least probabilities hold for all images.");
    });
    click("open-model", () => askModel(this.project));
    click("edit-classes", () => askClasses(this.project.classes, COLOURS, (project) => this.#reclassed(project)));
    click("show-images", () => this.#slide("images"));
    click("show-panel", () => this.#slide("panel"));
    $("size").addEventListener("input", (e) => this.setSize(LARGEST_BRUSH ** (e.target.value / 100)));
    $("view").addEventListener("change", (e) => {
      if (this.scene) this.scene.picture.view = e.target.value;
      this.stage.redraw();
    });
    for (const id of ["brightness", "contrast"]) $(id).addEventListener("input", () => this.#look());
    click("reset-look", () => {
      $("brightness").value = $("contrast").value = 0;
      $("view").value = "stretched";
      $("view").dispatchEvent(new Event("change"));
      this.#look();
    });
    for (const group of document.querySelectorAll("[role=radiogroup]")) arrows(group);
    window.addEventListener("beforeunload", (e) => {
      if (this.queue.length) e.preventDefault();
    });
    listenKeys(this);
    this.setSize(8);
  }

  #reclassed(project) {
    this.#take(project);
    this.list.show(project.images);
    this.open(this.scene.image.id);
  }
}

/** Shares of the classes in the label picture, the last one of what is unknown. */
function labelled(image, classes) {
  const shares = classes.map((c) => (image.labelled[c.name] ?? 0) / (image.width * image.height));
  return [...shares, Math.max(0, 1 - shares.reduce((a, b) => a + b, 0))];
}

const whole = (image) => ({ top: 0, left: 0, bottom: image.height, right: image.width });

const page = new Page();
window.layerscope = page; // for tests, and for whoever looks at the console
page.start().catch((error) => {
  $("banner").textContent = error instanceof Refusal ? error.message : `The page could not start: ${error.message}`;
  $("banner").hidden = false;
});
