/** Fetches frames: the wanted one at once, its neighbours a few at a time, and keeps them. */

import { getPixels } from '../common/api.js';
import { toFrame } from './pixels.js';

/** @typedef {import('./types.js').Series} Series */
/** @typedef {import('./pixels.js').Frame} Frame */

const AT_ONCE = 4;
const BUDGET_BYTES = 384 * 2 ** 20; // 768 slices of 512 x 512

export class FrameStore extends EventTarget {
  /** @type {Map<string, Frame>} by address, which names the results; least recently used first */
  #kept = new Map();
  /** @type {Map<string, Promise<Frame>>} */
  #running = new Map();
  /** @type {[Series, number][]} */
  #queue = [];
  #bytes = 0;
  #ahead = 0;

  /** @param {(series: Series, frame: number) => string} address */
  constructor(address) {
    super();
    this.address = address;
  }

  /**
   * Return a frame that is here.
   *
   * @param {Series} series
   * @param {number} index
   */
  peek(series, index) {
    const key = this.address(series, index);
    const frame = this.#kept.get(key);
    if (frame) {
      this.#kept.delete(key);
      this.#kept.set(key, frame);
    }
    return frame;
  }

  /**
   * Fetch a frame now.
   *
   * @param {Series} series
   * @param {number} index
   * @returns {Promise<Frame>}
   */
  load(series, index) {
    const key = this.address(series, index);
    const here = this.peek(series, index);
    if (here) return Promise.resolve(here);
    const running = this.#running.get(key);
    if (running) return running;
    const loading = getPixels(key)
      .then(({ bytes, range }) => {
        const frame = toFrame(bytes, series, range);
        this.#keep(key, frame);
        return frame;
      })
      .finally(() => this.#running.delete(key));
    this.#running.set(key, loading);
    return loading;
  }

  /**
   * Fetch these frames in this order when there is room; what was queued is dropped.
   *
   * @param {[Series, number][]} wanted
   */
  prefetch(wanted) {
    this.#queue = wanted.filter(([series, index]) => !this.#kept.has(this.address(series, index)));
    this.#pump();
  }

  /**
   * @param {Series} series
   * @returns {number} how many of its frames are here
   */
  countOf(series) {
    let count = 0;
    for (let index = 0; index < series.frames; index += 1) {
      if (this.#kept.has(this.address(series, index))) count += 1;
    }
    return count;
  }

  #pump() {
    while (this.#ahead < AT_ONCE && this.#queue.length) {
      const [series, index] = /** @type {[Series, number]} */ (this.#queue.shift());
      const key = this.address(series, index);
      if (this.#kept.has(key) || this.#running.has(key)) continue;
      this.#ahead += 1;
      this.load(series, index)
        .catch(() => {
          this.#queue = []; // the wanted frame says what is wrong; guesses stay silent
        })
        .finally(() => {
          this.#ahead -= 1;
          this.#pump();
        });
    }
  }

  /**
   * @param {string} key
   * @param {Frame} frame
   */
  #keep(key, frame) {
    this.#kept.set(key, frame);
    this.#bytes += frame.values.byteLength;
    for (const [oldest, old] of this.#kept) {
      if (this.#bytes <= BUDGET_BYTES) break;
      this.#kept.delete(oldest);
      this.#bytes -= old.values.byteLength;
    }
    this.dispatchEvent(new CustomEvent('kept'));
  }
}

/**
 * List the frames around one, nearest first, a little more in the direction of travel.
 *
 * @param {Series} series
 * @param {number} centre
 * @param {number} direction 1 or -1
 * @param {number} reach
 * @returns {[Series, number][]}
 */
export function around(series, centre, direction, reach) {
  /** @type {[Series, number][]} */
  const found = [];
  for (let step = 1; step <= reach; step += 1) {
    for (const offset of [2 * step - 1, 2 * step].map(n => n * direction).concat(-step * direction)) {
      const index = centre + offset;
      if (index >= 0 && index < series.frames) found.push([series, index]);
    }
  }
  return found;
}
