// The micrograph itself: tiles at the level that the screen needs, coarser ones until they are here.

const MOST_TILES = 300;

export class Picture {
  #tiles = new Map();

  /** @param {{id: number, height: number, width: number, levels: number, tile: number}} image */
  constructor(image, onLoad, onError) {
    this.image = image;
    this.view = "plain";
    this.onLoad = onLoad;
    this.onError = onError;
  }

  /** Level whose pixels are about those of the screen. */
  levelFor(zoom) {
    const wanted = Math.floor(Math.log2(1 / Math.min(zoom, 1)) + 0.01);
    return Math.min(Math.max(wanted, 0), this.image.levels - 1);
  }

  draw(context, box, zoom) {
    const last = this.image.levels - 1;
    const level = this.levelFor(zoom);
    for (let at = last; at > level; at -= 1) this.#drawLevel(context, box, at, at === last);
    this.#drawLevel(context, box, level, true);
  }

  #drawLevel(context, box, level, wanted) {
    const size = this.image.tile << level;
    for (let r = Math.floor(Math.max(box.top, 0) / size); r * size < Math.min(box.bottom, this.image.height); r += 1)
      for (let c = Math.floor(Math.max(box.left, 0) / size); c * size < Math.min(box.right, this.image.width); c += 1) {
        const tile = this.#tile(level, r, c, wanted);
        if (!tile?.complete || !tile.naturalWidth) continue;
        context.drawImage(tile, c * size, r * size, tile.naturalWidth << level, tile.naturalHeight << level);
      }
  }

  #tile(level, r, c, wanted) {
    const key = `${this.view}/${level}/${r}/${c}`;
    if (this.#tiles.has(key) || !wanted) return this.#tiles.get(key);
    const tile = new Image();
    tile.onload = this.onLoad;
    tile.onerror = () => this.onError("A part of the image could not be loaded.");
    tile.src = `/api/images/${this.image.id}/tiles/${key}.png`;
    this.#tiles.set(key, tile);
    if (this.#tiles.size > MOST_TILES) this.#tiles.delete(this.#tiles.keys().next().value);
    return tile;
  }
}
