// Which part of the image is on the screen: the image point in the middle, and the zoom.

const LARGEST = 64;
const [ABOVE, BELOW, BESIDE] = [64, 58, 14]; // for the tools, the scale bar, and to breathe

export class Camera {
  x = 0;
  y = 0;
  zoom = 1;

  /** Sizes in CSS pixels of the screen and in pixels of the image. */
  resize(width, height) {
    this.width = width;
    this.height = height;
  }

  /** Show the whole image between the tools above and the scale bar below. */
  fit(image) {
    this.zoom = this.least(image);
    this.x = image.width / 2;
    this.y = image.height / 2 + (BELOW - ABOVE) / 2 / this.zoom;
  }

  least(image) {
    const high = Math.max(this.height - ABOVE - BELOW, this.height / 2);
    return Math.min((this.width - 2 * BESIDE) / image.width, high / image.height);
  }

  /** Zoom by a factor so that the image point under a point of the screen stays there. */
  zoomAt(factor, screenX, screenY, image) {
    const [x, y] = this.toImage(screenX, screenY);
    const least = Math.min(this.least(image) / 2, 1);
    this.zoom = Math.min(Math.max(this.zoom * factor, least), LARGEST);
    this.x = x - (screenX - this.width / 2) / this.zoom;
    this.y = y - (screenY - this.height / 2) / this.zoom;
    this.keepIn(image);
  }

  pan(dx, dy, image) {
    this.x -= dx / this.zoom;
    this.y -= dy / this.zoom;
    this.keepIn(image);
  }

  /** The middle of the screen never leaves the image. */
  keepIn(image) {
    this.x = Math.min(Math.max(this.x, 0), image.width);
    this.y = Math.min(Math.max(this.y, 0), image.height);
  }

  toImage(screenX, screenY) {
    return [this.x + (screenX - this.width / 2) / this.zoom, this.y + (screenY - this.height / 2) / this.zoom];
  }

  /** Box of the image that is on the screen, in whole pixels. */
  box() {
    const [left, top] = this.toImage(0, 0);
    const [right, bottom] = this.toImage(this.width, this.height);
    return { top: Math.floor(top), left: Math.floor(left), bottom: Math.ceil(bottom), right: Math.ceil(right) };
  }

  /** Make a context draw in pixels of the image. */
  apply(context, ratio) {
    const scale = this.zoom * ratio;
    context.setTransform(
      scale, 0, 0, scale,
      (this.width / 2) * ratio - this.x * scale,
      (this.height / 2) * ratio - this.y * scale,
    );
  }
}
