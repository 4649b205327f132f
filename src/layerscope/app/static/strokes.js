// What a brush paints, to the pixel as layerscope/labelling/strokes.py does: a pixel is painted if
// its centre is within the brush's radius of its path. Whole numbers of quarters of a pixel keep
// both the same.

export const QUARTERS = 4;

/** Nearest quarter of a pixel. */
export const quarter = (value) => Math.round(value * QUARTERS);

/** Box {top, left, bottom, right} of pixels that a segment may paint, inside of the image. */
export function segmentBox(x0, y0, x1, y1, diameter, height, width) {
  const reach = Math.floor(diameter / 2) + QUARTERS;
  return {
    top: Math.max(Math.floor((Math.min(y0, y1) - reach) / QUARTERS), 0),
    left: Math.max(Math.floor((Math.min(x0, x1) - reach) / QUARTERS), 0),
    bottom: Math.min(Math.floor((Math.max(y0, y1) + reach) / QUARTERS) + 1, height),
    right: Math.min(Math.floor((Math.max(x0, x1) + reach) / QUARTERS) + 1, width),
  };
}

/** Calls `paint(row, column)` for each pixel of one segment of a stroke. */
export function paintSegment(x0, y0, x1, y1, diameter, height, width, paint) {
  const box = segmentBox(x0, y0, x1, y1, diameter, height, width);
  const [ax, ay] = [x1 - x0, y1 - y0];
  const length2 = ax * ax + ay * ay;
  const radius2 = (diameter * diameter) / 4;
  const half = QUARTERS / 2;
  for (let row = box.top; row < box.bottom; row += 1) {
    const y = row * QUARTERS + half - y0;
    for (let column = box.left; column < box.right; column += 1) {
      const x = column * QUARTERS + half - x0;
      const dot = x * ax + y * ay;
      let near;
      if (dot <= 0) near = x * x + y * y <= radius2;
      else if (dot >= length2) near = (x - ax) * (x - ax) + (y - ay) * (y - ay) <= radius2;
      else near = (x * ay - y * ax) ** 2 <= radius2 * length2;
      if (near) paint(row, column);
    }
  }
  for (const [x, y] of [[x0, y0], [x1, y1]]) {
    const [row, column] = [Math.floor(y / QUARTERS), Math.floor(x / QUARTERS)];
    if (row >= 0 && row < height && column >= 0 && column < width) paint(row, column);
  }
  return box;
}

/** Box that holds both. */
export function joined(a, b) {
  if (!a || a.bottom <= a.top) return b;
  if (!b || b.bottom <= b.top) return a;
  return {
    top: Math.min(a.top, b.top),
    left: Math.min(a.left, b.left),
    bottom: Math.max(a.bottom, b.bottom),
    right: Math.max(a.right, b.right),
  };
}
