/** A region while a person redraws it: brush, eraser, undo; nothing leaves the page yet. */

import { FrameMask, fromRuns, outline, toRuns } from './masks.js';

/** @typedef {import('./types.js').Series} Series */
/** @typedef {import('./types.js').Region} Region */
/** @typedef {{column: number, row: number}} Point */

const UNDO_STEPS = 60;

export class Edit extends EventTarget {
  /** @type {'brush' | 'eraser'} */
  tool = 'brush';
  /** The brush's diameter in image pixels. */
  size = 12;
  /** @type {Map<number, Uint8Array>} by frame */
  #bitmaps = new Map();
  /** @type {{frame: number, before: Uint8Array}[]} */
  #undo = [];
  /** @type {{frame: number, path: Path2D} | null} */
  #drawn = null;
  /** @type {Point | null} */
  #last = null;
  /** @type {{frame: number, point: Point} | null} where the brush hovers */
  #cursor = null;

  /**
   * @param {Region} region
   * @param {Series} series
   * @param {import('./masks.js').RegionMask} machine
   * @param {import('./masks.js').RegionMask} [start] what to begin with
   */
  constructor(region, series, machine, start = machine) {
    super();
    this.region = region;
    this.series = series;
    this.machine = machine;
    for (const [frame, mask] of start) {
      this.#bitmaps.set(frame, fromRuns(mask.runs, series.rows * series.columns));
    }
  }

  get canUndo() {
    return this.#undo.length > 0;
  }

  get isChanged() {
    return this.#undo.length > 0;
  }

  /**
   * Put the brush down.
   *
   * @param {number} frame
   * @param {Point} point
   */
  begin(frame, point) {
    const before = this.#bitmapOf(frame).slice();
    this.#undo.push({ frame, before });
    if (this.#undo.length > UNDO_STEPS) this.#undo.shift();
    this.#last = point;
    this.stroke(frame, point);
  }

  /**
   * Draw from where the brush was to a point.
   *
   * @param {number} frame
   * @param {Point} point
   */
  stroke(frame, point) {
    const from = this.#last ?? point;
    this.#last = point;
    const { rows, columns } = this.series;
    paintLine(this.#bitmapOf(frame), rows, columns, {
      from,
      to: point,
      radius: this.size / 2,
      value: this.tool === 'brush' ? 1 : 0,
    });
    this.#changed();
  }

  end() {
    this.#last = null;
  }

  undo() {
    const step = this.#undo.pop();
    if (!step) return;
    this.#bitmaps.set(step.frame, step.before);
    this.#changed();
  }

  /** @param {{frame: number, point: Point} | null} cursor */
  hover(cursor) {
    this.#cursor = cursor;
    this.dispatchEvent(new CustomEvent('change'));
  }

  /** @returns {{frame: number, runs: number[]}[]} the frames that are not empty */
  toFrames() {
    return [...this.#bitmaps]
      .sort(([a], [b]) => a - b)
      .map(([frame, bitmap]) => ({ frame, runs: toRuns(bitmap, this.series.columns) }))
      .filter(one => one.runs.length);
  }

  /**
   * @param {number} frame
   * @returns {import('./stack.js').Layer[]}
   */
  layersOf(frame) {
    const { colour } = this.region;
    const layers = [];
    const machine = this.machine.get(frame);
    if (machine) {
      layers.push({ path: machine.path, colour: '#ffffff', fill: 0, line: 0.75, width: 1, isDashed: true });
    }
    const path = this.#pathOf(frame);
    if (path) layers.push({ path, colour, fill: 0.45, line: 1, width: 2 });
    if (this.#cursor?.frame === frame) {
      const { column, row } = this.#cursor.point;
      const ring = new Path2D();
      ring.ellipse(column, row, this.size / 2, this.size / 2, 0, 0, 2 * Math.PI);
      layers.push({ path: ring, colour: '#ffffff', fill: 0, line: 0.9, width: 1 });
    }
    return layers;
  }

  /** @param {number} frame */
  #pathOf(frame) {
    const bitmap = this.#bitmaps.get(frame);
    if (!bitmap) return null;
    if (this.#drawn?.frame !== frame) {
      this.#drawn = { frame, path: outline(bitmap, this.series.rows, this.series.columns) };
    }
    return this.#drawn.path;
  }

  /** @param {number} frame */
  #bitmapOf(frame) {
    let bitmap = this.#bitmaps.get(frame);
    if (!bitmap) {
      bitmap = new Uint8Array(this.series.rows * this.series.columns);
      this.#bitmaps.set(frame, bitmap);
    }
    return bitmap;
  }

  #changed() {
    this.#drawn = null;
    this.dispatchEvent(new CustomEvent('change'));
  }
}

/**
 * Set every pixel whose centre is no further than a radius from a line.
 *
 * @param {Uint8Array} bitmap
 * @param {number} rows
 * @param {number} columns
 * @param {{from: Point, to: Point, radius: number, value: number}} line
 */
export function paintLine(bitmap, rows, columns, { from, to, radius, value }) {
  const first = Math.max(0, Math.floor(Math.min(from.row, to.row) - radius));
  const last = Math.min(rows - 1, Math.ceil(Math.max(from.row, to.row) + radius));
  const left = Math.max(0, Math.floor(Math.min(from.column, to.column) - radius));
  const right = Math.min(columns - 1, Math.ceil(Math.max(from.column, to.column) + radius));
  const [dx, dy] = [to.column - from.column, to.row - from.row];
  const squared = dx * dx + dy * dy;
  for (let row = first; row <= last; row += 1) {
    for (let column = left; column <= right; column += 1) {
      const [x, y] = [column + 0.5 - from.column, row + 0.5 - from.row];
      const share = squared ? Math.min(1, Math.max(0, (x * dx + y * dy) / squared)) : 0;
      const [offX, offY] = [x - share * dx, y - share * dy];
      if (offX * offX + offY * offY <= radius * radius) bitmap[row * columns + column] = value;
    }
  }
}

/**
 * Make a mask of what a person drew.
 *
 * @param {{frame: number, runs: number[]}[]} frames
 * @param {Series} series
 * @returns {import('./masks.js').RegionMask}
 */
export function drawnMask(frames, series) {
  return new Map(frames.map(one => [one.frame, new FrameMask(one.runs, series.rows, series.columns)]));
}
