/** Where an image lies on the canvas: fit, zoom and pan, with the pixels' true shape. */

const LEAST_ZOOM = 0.25;
const MOST_ZOOM = 32;

export class Camera {
  zoom = 1;
  panX = 0;
  panY = 0;
  width = 1;
  height = 1;
  columns = 1;
  rows = 1;
  aspect = 1;

  /**
   * @param {number} width of the canvas, in its own pixels
   * @param {number} height
   */
  resize(width, height) {
    this.width = Math.max(1, width);
    this.height = Math.max(1, height);
  }

  /** @param {import('./types.js').Series} series */
  lookAt(series) {
    this.columns = series.columns;
    this.rows = series.rows;
    this.aspect = series.pixel_aspect;
  }

  reset() {
    this.zoom = 1;
    this.panX = 0;
    this.panY = 0;
  }

  /** Canvas pixels for an image pixel, along a row and along a column. */
  get scale() {
    const fit = Math.min(this.width / this.columns, this.height / (this.rows * this.aspect));
    const x = fit * this.zoom;
    return { x, y: x * this.aspect };
  }

  /** @returns {DOMMatrix} from image to canvas */
  get matrix() {
    const { x, y } = this.scale;
    return new DOMMatrix([
      x,
      0,
      0,
      y,
      this.width / 2 + this.panX - (this.columns / 2) * x,
      this.height / 2 + this.panY - (this.rows / 2) * y,
    ]);
  }

  /**
   * @param {number} x canvas pixels
   * @param {number} y
   * @returns {{column: number, row: number}} image pixels, fractions too
   */
  toImage(x, y) {
    const { a, d, e, f } = this.matrix;
    return { column: (x - e) / a, row: (y - f) / d };
  }

  /**
   * Zoom while a point of the canvas keeps its place.
   *
   * @param {number} factor
   * @param {number} [x]
   * @param {number} [y]
   */
  zoomAt(factor, x = this.width / 2, y = this.height / 2) {
    const zoom = Math.min(MOST_ZOOM, Math.max(LEAST_ZOOM, this.zoom * factor));
    const change = zoom / this.zoom;
    this.panX = (x - this.width / 2) * (1 - change) + this.panX * change;
    this.panY = (y - this.height / 2) * (1 - change) + this.panY * change;
    this.zoom = zoom;
  }

  /**
   * @param {number} dx canvas pixels
   * @param {number} dy
   */
  pan(dx, dy) {
    this.panX += dx;
    this.panY += dy;
  }
}
