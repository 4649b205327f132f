// A layer of class values over the whole image, drawn tile by tile.

const TILE = 512;

/** "#rrggbb" as the 32 bits of one pixel of image data. */
export function packed(colour, alpha = 255) {
  const n = parseInt(colour.slice(1), 16);
  return ((alpha << 24) | ((n & 255) << 16) | (((n >> 8) & 255) << 8) | (n >> 16)) >>> 0;
}

const HATCH = [0xffffffff, 0xff141418, 0, 0, 0, 0];

/** What is of no class is hatched: a pixel of image data at a place. */
export const unknownAt = (y, x) => HATCH[(y + x) % HATCH.length];

/** Class values of an image, one byte each, with what is shown of them. */
export class LabelRaster {
  #tiles = new Map();
  #dirty = new Set();

  /** @param {boolean} hatched whether the value 0 is shown as unknown */
  constructor(height, width, hatched = false) {
    this.hatched = hatched;
    this.height = height;
    this.width = width;
    this.values = new Uint8Array(height * width);
    this.table = new Uint32Array(256);
  }

  /** Colours by value, 0 transparent. */
  recolour(classes) {
    this.table.fill(0);
    for (const c of classes) this.table[c.value] = packed(c.colour);
    this.touch({ top: 0, left: 0, bottom: this.height, right: this.width });
  }

  /** Put bytes row by row into a box. */
  put(box, bytes) {
    const wide = box.right - box.left;
    for (let row = box.top; row < box.bottom; row += 1) {
      const from = (row - box.top) * wide;
      this.values.set(bytes.subarray(from, from + wide), row * this.width + box.left);
    }
    this.touch(box);
  }

  /** Say that pixels in a box changed. */
  touch(box) {
    for (let r = Math.floor(box.top / TILE); r * TILE < box.bottom; r += 1)
      for (let c = Math.floor(box.left / TILE); c * TILE < box.right; c += 1)
        this.#dirty.add(`${r}/${c}`);
  }

  /** Draw what a box of the image shows; the context is in image pixels. */
  draw(context, box) {
    for (let r = Math.floor(box.top / TILE); r * TILE < box.bottom; r += 1)
      for (let c = Math.floor(box.left / TILE); c * TILE < box.right; c += 1) {
        const tile = this.#tile(r, c);
        if (tile) context.drawImage(tile, c * TILE, r * TILE);
      }
  }

  #tile(r, c) {
    const key = `${r}/${c}`;
    if (!this.#dirty.has(key)) return this.#tiles.get(key);
    this.#dirty.delete(key);
    const high = Math.min(TILE, this.height - r * TILE);
    const wide = Math.min(TILE, this.width - c * TILE);
    const data = new ImageData(wide, high);
    const pixels = new Uint32Array(data.data.buffer);
    let any = 0;
    for (let y = 0; y < high; y += 1) {
      const from = (r * TILE + y) * this.width + c * TILE;
      for (let x = 0; x < wide; x += 1) {
        const value = this.values[from + x];
        any |= pixels[y * wide + x] = value || !this.hatched ? this.table[value] : unknownAt(y, x);
      }
    }
    if (!any) {
      this.#tiles.delete(key);
      return undefined;
    }
    const canvas = this.#tiles.get(key) ?? new OffscreenCanvas(wide, high);
    canvas.getContext("2d").putImageData(data, 0, 0);
    this.#tiles.set(key, canvas);
    return canvas;
  }
}
