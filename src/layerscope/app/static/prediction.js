// Answers of the classifier: probabilities in bytes, per level and tile, and what is shown of them.

import { packed, unknownAt } from "./raster.js";

const TILE = 512;
const UNSURE = [190, 92, 255];
const HATCH = [0xf0ffffff, 0xf0141418];

/** Pieces of an answer, drawn as classes, as uncertainty, or where they differ from labels. */
export class Prediction {
  #levels = new Map();

  constructor(height, width, classes) {
    this.height = height;
    this.width = width;
    this.count = classes.length;
    this.thresholds = new Uint8Array(this.count);
    this.recolour(classes);
  }

  recolour(classes) {
    this.table = classes.map((c) => packed(c.colour));
    this.stale();
  }

  /** Everything shown must be drawn anew. */
  stale() {
    for (const tiles of this.#levels.values()) for (const tile of tiles.values()) tile.shown = {};
  }

  /** Least probabilities 0 to 1, in the order of the classes. */
  setThresholds(values) {
    this.thresholds = Uint8Array.from(values, (v) => Math.ceil(v * 255 - 0.5 - 1e-6));
    this.stale();
  }

  /** Take a piece; several tiles may get a part of it. */
  put(head, bytes) {
    const plane = head.height * head.width;
    for (let r = Math.floor(head.top / TILE); r * TILE < head.top + head.height; r += 1)
      for (let c = Math.floor(head.left / TILE); c * TILE < head.left + head.width; c += 1) {
        const tile = this.#tile(head.level, r, c);
        const top = Math.max(head.top, r * TILE);
        const bottom = Math.min(head.top + head.height, (r + 1) * TILE);
        const left = Math.max(head.left, c * TILE);
        const right = Math.min(head.left + head.width, (c + 1) * TILE);
        for (let k = 0; k < this.count; k += 1)
          for (let y = top; y < bottom; y += 1) {
            const from = k * plane + (y - head.top) * head.width + (left - head.left);
            tile.shares[k].set(bytes.subarray(from, from + right - left), (y - r * TILE) * TILE + left - c * TILE);
          }
        if (!tile.pieces.has(`${top}/${left}`)) {
          tile.pieces.add(`${top}/${left}`);
          tile.missing -= (bottom - top) * (right - left);
          tile.complete = tile.missing <= 0;
        }
        tile.shown = {};
      }
  }

  #tile(level, r, c) {
    if (!this.#levels.has(level)) this.#levels.set(level, new Map());
    const tiles = this.#levels.get(level);
    const key = `${r}/${c}`;
    if (!tiles.has(key)) {
      const shares = Array.from({ length: this.count }, () => new Uint8Array(TILE * TILE));
      const high = Math.min(TILE, Math.ceil(this.height / (1 << level)) - r * TILE);
      const wide = Math.min(TILE, Math.ceil(this.width / (1 << level)) - c * TILE);
      tiles.set(key, { r, c, shares, shown: {}, pieces: new Set(), missing: high * wide, complete: false });
    }
    return tiles.get(key);
  }

  /** Probabilities 0 to 1 at a pixel of the image, or null where nothing is known. */
  at(row, column) {
    for (const [level, tiles] of [...this.#levels].sort((a, b) => a[0] - b[0])) {
      const [y, x] = [row >> level, column >> level];
      const tile = tiles.get(`${Math.floor(y / TILE)}/${Math.floor(x / TILE)}`);
      const place = (y % TILE) * TILE + (x % TILE);
      const found = tile?.shares.map((s) => s[place] / 255);
      if (found?.some((p) => p > 0)) return found;
    }
    return null;
  }

  /**
   * Draw one kind, "classes", "uncertainty" or "disagreement", opaque; the context is in image
   * pixels. Where the level is not complete yet, the others show what they know.
   */
  draw(context, box, level, kind, told) {
    const others = this.#isComplete(level, box) ? [] : [...this.#levels.keys()].filter((l) => l !== level);
    others.sort((a, b) => Math.abs(b - level) - Math.abs(a - level));
    for (const at of [...others, level]) {
      const size = TILE << at;
      for (const tile of this.#levels.get(at)?.values() ?? []) {
        const [top, left] = [tile.r * size, tile.c * size];
        if (top >= box.bottom || left >= box.right || top + size <= box.top || left + size <= box.left) continue;
        tile.shown[kind] ??= this.#picture(tile, at, kind, told);
        context.drawImage(tile.shown[kind], left, top, size, size);
      }
    }
  }

  #isComplete(level, box) {
    const size = TILE << level;
    const tiles = this.#levels.get(level);
    for (let r = Math.floor(Math.max(box.top, 0) / size); r * size < Math.min(box.bottom, this.height); r += 1)
      for (let c = Math.floor(Math.max(box.left, 0) / size); c * size < Math.min(box.right, this.width); c += 1)
        if (!tiles?.get(`${r}/${c}`)?.complete) return false;
    return true;
  }

  /** Whether the newest answers of a level cover a box. */
  isFresh(level, box, revision) {
    return this.revision === revision && this.freshLevel === level && this.freshBox &&
      this.freshBox.top <= Math.max(box.top, 0) && this.freshBox.left <= Math.max(box.left, 0) &&
      this.freshBox.bottom >= Math.min(box.bottom, this.height) &&
      this.freshBox.right >= Math.min(box.right, this.width);
  }

  /** Remember that a box was answered to the end. */
  answered(level, box, revision) {
    this.revision = revision;
    this.freshLevel = level;
    this.freshBox = box;
  }

  #picture(tile, level, kind, told) {
    const data = new ImageData(TILE, TILE);
    const pixels = new Uint32Array(data.data.buffer);
    const { shares } = tile;
    for (let i = 0; i < TILE * TILE; i += 1) {
      let first = 0, second = 0;
      for (let k = 0; k < this.count; k += 1) {
        const p = shares[k][i];
        if (p > first) {
          second = first;
          first = p;
        } else if (p > second) second = p;
      }
      if (!first) continue;
      if (kind === "uncertainty") {
        const unsure = 1 - (first - second) / 255;
        const alpha = Math.round(235 * unsure * unsure);
        pixels[i] = ((alpha << 24) | (UNSURE[2] << 16) | (UNSURE[1] << 8) | UNSURE[0]) >>> 0;
        continue;
      }
      const best = this.#classOf(shares, i);
      if (kind === "classes") {
        pixels[i] = best < 0 ? unknownAt(Math.floor(i / TILE), i % TILE) : this.table[best];
        continue;
      }
      const row = (tile.r * TILE + Math.floor(i / TILE)) << level;
      const column = (tile.c * TILE + (i % TILE)) << level;
      const said = row < this.height && column < this.width ? told(row * this.width + column) : 0;
      if (said && best >= 0 && said !== best + 1) {
        pixels[i] = HATCH[((Math.floor(i / TILE) + (i % TILE)) >> 2) & 1];
      }
    }
    const canvas = new OffscreenCanvas(TILE, TILE);
    canvas.getContext("2d").putImageData(data, 0, 0);
    return canvas;
  }

  /** The most probable class among those that reach their threshold, as the program decides; -1: unknown. */
  #classOf(shares, i) {
    let first = 0, best = -1;
    for (let k = 0; k < this.count; k += 1)
      if (shares[k][i] > first && shares[k][i] >= this.thresholds[k]) {
        first = shares[k][i];
        best = k;
      }
    return best;
  }

  /** Shares of the classes in a box, the last one of what is below the thresholds; null: not known. */
  areas(box, level) {
    const tiles = this.#levels.get(level);
    if (!tiles) return null;
    const counts = new Float64Array(this.count + 1);
    const [top, left] = [Math.max(box.top, 0) >> level, Math.max(box.left, 0) >> level];
    const bottom = Math.ceil(Math.min(box.bottom, this.height) / (1 << level));
    const right = Math.ceil(Math.min(box.right, this.width) / (1 << level));
    for (let y = top; y < bottom; y += 1)
      for (let x = left; x < right; x += 1) {
        const tile = tiles.get(`${Math.floor(y / TILE)}/${Math.floor(x / TILE)}`);
        if (!tile) return null;
        const i = (y % TILE) * TILE + (x % TILE);
        if (tile.shares.every((s) => !s[i])) return null;
        const best = this.#classOf(tile.shares, i);
        counts[best < 0 ? this.count : best] += 1;
      }
    const total = counts.reduce((a, b) => a + b, 0);
    return total ? Array.from(counts, (n) => n / total) : null;
  }
}
