/** Shows one frame of a series on the canvas, with what lies over it. */

import { isPassing } from '../common/api.js';
import { Camera } from './camera.js';
import { around } from './frames.js';
import { firstWindow, shade } from './pixels.js';
import { isSame, keyOf } from './series.js';

/** @typedef {import('./types.js').Series} Series */
/** @typedef {import('./pixels.js').Frame} Frame */

/**
 * @typedef {object} Layer something to draw over the image
 * @property {Path2D} path in image pixels
 * @property {string} colour #rrggbb
 * @property {number} fill opacity, 0 for an outline alone
 * @property {number} line opacity
 * @property {number} width of the line in CSS pixels
 * @property {boolean} [isDashed]
 */

const REACH = 24;
const RETRY_MS = 500;
const LONGEST_RETRY_MS = 8000;

/**
 * Events: "opened" (another series), "shown" (a frame is on the canvas), "view" (window, zoom or pan changed),
 * "problem" (a frame did not come; detail is the error).
 */
export class Stack extends EventTarget {
  camera = new Camera();
  /** @type {Series | null} */
  series = null;
  wanted = 0;
  /** @type {number | null} the frame on the canvas */
  shown = null;
  shades = { centre: 0, width: 1, isInverted: false };
  /** @type {(series: Series, frame: number) => Layer[]} */
  layersOf = () => [];
  /** @type {[Series, number][]} frames worth having whatever is shown */
  worthHaving = [];

  /** Whether the wanted frame will not come, however often it is asked for. */
  isMissing = false;

  /** @type {Map<string, {frame: number, shades: any}>} where each series was left */
  #left = new Map();
  #hasFailed = false;
  #retry = 0;
  #isDue = false;
  #isStale = true;
  #direction = 1;
  #buffer = document.createElement('canvas');
  /** @type {ImageData | null} */
  #image = null;

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {import('./frames.js').FrameStore} frames
   */
  constructor(canvas, frames) {
    super();
    this.canvas = canvas;
    this.frames = frames;
    new ResizeObserver(() => this.#resize()).observe(canvas);
    this.#resize();
  }

  /** Canvas pixels for a CSS pixel. */
  get density() {
    return window.devicePixelRatio || 1;
  }

  /**
   * Show a series, where it was left or at a frame.
   *
   * @param {Series} series
   * @param {number} [frame]
   */
  open(series, frame) {
    if (isSame(this.series, series)) {
      this.series = series;
      if (frame !== undefined) this.go(frame);
      return;
    }
    if (this.series) this.#left.set(keyOf(this.series), { frame: this.wanted, shades: this.shades });
    const left = this.#left.get(keyOf(series));
    this.series = series;
    this.shown = null;
    this.shades = left?.shades ?? { centre: NaN, width: NaN, isInverted: false };
    this.#buffer.width = series.columns;
    this.#buffer.height = series.rows;
    this.#image = new ImageData(series.columns, series.rows);
    this.camera.lookAt(series);
    this.camera.reset();
    this.wanted = -1;
    this.dispatchEvent(new CustomEvent('opened'));
    this.go(frame ?? left?.frame ?? Math.floor((series.frames - 1) / 2));
  }

  /**
   * Show another frame; a number outside the stack becomes its first or last. One that
   * did not come is asked for again.
   *
   * @param {number} frame
   */
  go(frame) {
    const { series } = this;
    if (!series) return;
    const index = Math.min(series.frames - 1, Math.max(0, Math.round(frame)));
    if (index === this.wanted && !this.#hasFailed) return;
    this.#direction = index < this.wanted ? -1 : 1;
    this.wanted = index;
    this.#hasFailed = false;
    this.isMissing = false;
    window.clearTimeout(this.#retry);
    const here = this.frames.peek(series, index);
    if (here) this.#show(series, index, here);
    else this.#load(series, index, 0);
  }

  /**
   * @param {Series} series
   * @param {number} index
   * @param {number} tries how often it has failed
   */
  #load(series, index, tries) {
    const isWanted = () => isSame(this.series, series) && this.wanted === index && this.shown !== index;
    this.frames.load(series, index).then(
      loaded => {
        if (isWanted()) this.#show(series, index, loaded);
      },
      error => {
        if (!tries) this.dispatchEvent(new CustomEvent('problem', { detail: error }));
        if (!isWanted()) return;
        this.#hasFailed = true;
        this.isMissing = !isPassing(error);
        if (this.isMissing) return;
        window.clearTimeout(this.#retry);
        this.#retry = window.setTimeout(
          () => isWanted() && this.#load(series, index, tries + 1),
          Math.min(LONGEST_RETRY_MS, RETRY_MS * 2 ** tries),
        );
      },
    );
  }

  /** @param {number} by */
  scroll(by) {
    this.go(this.wanted + by);
  }

  /**
   * @param {number} centre
   * @param {number} width
   */
  setWindow(centre, width) {
    this.shades = { ...this.shades, centre, width: Math.max(1, width) };
    this.#viewChanged(true);
  }

  invert() {
    this.shades = { ...this.shades, isInverted: !this.shades.isInverted };
    this.#viewChanged(true);
  }

  reset() {
    this.camera.reset();
    const frame = this.series && this.shown !== null && this.frames.peek(this.series, this.shown);
    if (this.series && frame) {
      this.shades = { ...firstWindow(this.series, frame), isInverted: false };
    }
    this.#viewChanged(true);
  }

  /**
   * @param {number} factor
   * @param {number} [x] canvas pixels
   * @param {number} [y]
   */
  zoom(factor, x, y) {
    this.camera.zoomAt(factor, x, y);
    this.#viewChanged(false);
  }

  /**
   * @param {number} dx CSS pixels
   * @param {number} dy
   */
  pan(dx, dy) {
    this.camera.pan(dx * this.density, dy * this.density);
    this.#viewChanged(false);
  }

  /** Draw again soon. */
  redraw() {
    if (this.#isDue) return;
    this.#isDue = true;
    requestAnimationFrame(() => {
      this.#isDue = false;
      this.#draw();
    });
  }

  /**
   * @param {Series} series
   * @param {number} index
   * @param {Frame} frame
   */
  #show(series, index, frame) {
    if (Number.isNaN(this.shades.centre)) {
      this.shades = { ...firstWindow(series, frame), isInverted: false };
    }
    this.shown = index;
    this.#hasFailed = false;
    this.#isStale = true;
    this.redraw();
    const reach = series.frames <= 2 * REACH ? series.frames : REACH;
    this.frames.prefetch([...around(series, index, this.#direction, 4), ...this.worthHaving,
      ...around(series, index, this.#direction, reach)]);
    this.dispatchEvent(new CustomEvent('shown'));
  }

  /** @param {boolean} isStale whether the greys must be made again */
  #viewChanged(isStale) {
    if (isStale) this.#isStale = true;
    this.redraw();
    this.dispatchEvent(new CustomEvent('view'));
  }

  #resize() {
    const { clientWidth, clientHeight } = this.canvas;
    this.canvas.width = Math.max(1, Math.round(clientWidth * this.density));
    this.canvas.height = Math.max(1, Math.round(clientHeight * this.density));
    this.camera.resize(this.canvas.width, this.canvas.height);
    this.#draw(); // at once: a resized canvas is blank until it is painted
  }

  #draw() {
    const context = this.canvas.getContext('2d', { alpha: false });
    if (!context) return;
    context.resetTransform();
    context.fillStyle = '#000';
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    const { series, shown } = this;
    if (!series || shown === null) return;
    this.#shade(series, shown);
    const { matrix, scale } = this.camera;
    context.setTransform(matrix);
    context.imageSmoothingEnabled = scale.x < 6 * this.density;
    context.imageSmoothingQuality = 'high';
    context.drawImage(this.#buffer, 0, 0);
    context.resetTransform();
    for (const layer of this.layersOf(series, shown)) this.#paint(context, layer, matrix);
    const { a, d, e, f } = matrix;
    // What scripts and tests need to find an image pixel on the canvas.
    Object.assign(this.canvas.dataset, {
      series: String(series.index),
      frame: String(shown),
      view: [a, d, e, f].join(' '),
    });
  }

  /**
   * @param {Series} series
   * @param {number} shown
   */
  #shade(series, shown) {
    if (!this.#isStale || !this.#image) return;
    const frame = this.frames.peek(series, shown);
    if (!frame) return; // dropped from memory: what the buffer holds is still this frame
    shade(frame, series, this.shades, this.#image);
    this.#buffer.getContext('2d')?.putImageData(this.#image, 0, 0);
    this.#isStale = false;
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Layer} layer
   * @param {DOMMatrix} matrix
   */
  #paint(context, layer, matrix) {
    const path = new Path2D();
    path.addPath(layer.path, matrix);
    context.fillStyle = layer.colour;
    context.strokeStyle = layer.colour;
    if (layer.fill > 0) {
      context.globalAlpha = layer.fill;
      context.fill(path, 'evenodd');
    }
    if (layer.line > 0) {
      context.globalAlpha = layer.line;
      context.lineWidth = layer.width * this.density;
      context.setLineDash(layer.isDashed ? [5 * this.density, 4 * this.density] : []);
      context.stroke(path);
    }
    context.globalAlpha = 1;
  }
}
