/** Masks as the node sends them: runs of set pixels, bitmaps, and outlines to draw. */

import { getJson } from '../common/api.js';

/**
 * Fill a bitmap from row-major runs.
 *
 * @param {number[]} runs start, length, start, length, ...
 * @param {number} count rows times columns
 */
export function fromRuns(runs, count) {
  const bitmap = new Uint8Array(count);
  for (let index = 0; index + 1 < runs.length; index += 2) {
    bitmap.fill(1, runs[index], runs[index] + runs[index + 1]);
  }
  return bitmap;
}

/**
 * Write a bitmap as runs; a run ends with its row.
 *
 * @param {Uint8Array} bitmap
 * @param {number} columns
 */
export function toRuns(bitmap, columns) {
  const runs = [];
  for (let row = 0; row < bitmap.length; row += columns) {
    let start = -1;
    for (let at = row; at <= row + columns; at += 1) {
      const isSet = at < row + columns && bitmap[at] === 1;
      if (isSet && start < 0) start = at;
      else if (!isSet && start >= 0) {
        runs.push(start, at - start);
        start = -1;
      }
    }
  }
  return runs;
}

/**
 * Trace the edges of a bitmap's pixels as closed loops, holes too.
 *
 * @param {Uint8Array} bitmap
 * @param {number} rows
 * @param {number} columns
 * @returns {Path2D} in pixels; fill it by the even-odd rule
 */
export function outline(bitmap, rows, columns) {
  const width = columns + 1;
  /** @type {Map<number, number[]>} from corner to corner, the inside at the right */
  const edges = new Map();
  const add = (/** @type {number} */ from, /** @type {number} */ to) => {
    const list = edges.get(from);
    if (list) list.push(to);
    else edges.set(from, [to]);
  };
  for (let row = 0, at = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1, at += 1) {
      if (!bitmap[at]) continue;
      const corner = row * width + column;
      if (row === 0 || !bitmap[at - columns]) add(corner, corner + 1);
      if (column === columns - 1 || !bitmap[at + 1]) add(corner + 1, corner + 1 + width);
      if (row === rows - 1 || !bitmap[at + columns]) add(corner + 1 + width, corner + width);
      if (column === 0 || !bitmap[at - 1]) add(corner + width, corner);
    }
  }
  const path = new Path2D();
  for (const start of edges.keys()) {
    while (edges.get(start)?.length) traceLoop(edges, start, width, path);
  }
  return path;
}

/**
 * @param {Map<number, number[]>} edges
 * @param {number} start
 * @param {number} width
 * @param {Path2D} path
 */
function traceLoop(edges, start, width, path) {
  path.moveTo(start % width, Math.floor(start / width));
  let here = start;
  let step = 0;
  do {
    const next = /** @type {number} */ (edges.get(here)?.pop());
    if (step !== 0 && next - here !== step) path.lineTo(here % width, Math.floor(here / width));
    step = next - here;
    here = next;
  } while (here !== start);
  path.closePath();
}

/** One frame of a region's mask; bitmap and path are made when they are asked for. */
export class FrameMask {
  /** @type {Uint8Array | null} */
  #bitmap = null;
  /** @type {Path2D | null} */
  #path = null;

  /**
   * @param {number[]} runs
   * @param {number} rows
   * @param {number} columns
   */
  constructor(runs, rows, columns) {
    this.runs = runs;
    this.rows = rows;
    this.columns = columns;
    this.area = 0;
    for (let index = 1; index < runs.length; index += 2) this.area += runs[index];
  }

  get bitmap() {
    this.#bitmap ??= fromRuns(this.runs, this.rows * this.columns);
    return this.#bitmap;
  }

  get path() {
    this.#path ??= outline(this.bitmap, this.rows, this.columns);
    return this.#path;
  }

  /**
   * @param {number} column
   * @param {number} row
   */
  has(column, row) {
    if (column < 0 || row < 0 || column >= this.columns || row >= this.rows) return false;
    return this.bitmap[Math.floor(row) * this.columns + Math.floor(column)] === 1;
  }
}

/** @typedef {Map<number, FrameMask>} RegionMask by frame */

/** Fetches the masks of regions, a few at a time, and keeps them. */
export class MaskStore extends EventTarget {
  /** @type {Map<string, RegionMask>} by address, which names the results */
  #masks = new Map();
  /** @type {Map<string, Promise<RegionMask>>} */
  #running = new Map();

  /** @param {(trackingUid: string) => string} address */
  constructor(address) {
    super();
    this.address = address;
  }

  /** @param {string} trackingUid */
  peek(trackingUid) {
    return this.#masks.get(this.address(trackingUid));
  }

  /**
   * @param {string} trackingUid
   * @returns {Promise<RegionMask>}
   */
  load(trackingUid) {
    const key = this.address(trackingUid);
    const here = this.#masks.get(key);
    if (here) return Promise.resolve(here);
    const running = this.#running.get(key);
    if (running) return running;
    const loading = getJson(key)
      .then(answer => {
        const mask = toMask(answer);
        this.#masks.set(key, mask);
        this.dispatchEvent(new CustomEvent('loaded', { detail: trackingUid }));
        return mask;
      })
      .finally(() => this.#running.delete(key));
    this.#running.set(key, loading);
    return loading;
  }

  /**
   * Fetch all, in order, three at a time.
   *
   * @param {string[]} trackingUids
   * @returns {Promise<void>} the first failure is thrown when all have ended
   */
  async loadAll(trackingUids) {
    const waiting = [...trackingUids];
    /** @type {unknown[]} */
    const failures = [];
    const work = async () => {
      for (let uid = waiting.shift(); uid; uid = waiting.shift()) {
        await this.load(uid).catch(error => failures.push(error));
      }
    };
    await Promise.all([work(), work(), work()]);
    if (failures.length) throw failures[0];
  }
}

/**
 * @param {{rows: number, columns: number, frames: {frame: number, runs: number[]}[]}} answer
 * @returns {RegionMask}
 */
function toMask({ rows, columns, frames }) {
  return new Map(frames.map(one => [one.frame, new FrameMask(one.runs, rows, columns)]));
}
