/** The series of a study as small pictures to choose from. */

import { fill, h } from '../common/dom.js';
import { firstWindow, shade } from './pixels.js';
import { keyOf } from './series.js';

/** @typedef {import('./types.js').Detail} Detail */
/** @typedef {import('./types.js').Series} Series */

const SIDE = 72;

export class Thumbnails {
  /** @type {Set<string>} */
  #painted = new Set();
  #drawn = '';

  /**
   * @param {HTMLElement} place
   * @param {import('./stack.js').Stack} stack
   * @param {(series: Series) => void} onOpen
   */
  constructor(place, stack, onOpen) {
    this.place = place;
    this.stack = stack;
    this.onOpen = onOpen;
  }

  /** @param {Detail} detail */
  draw(detail) {
    this.place.hidden = detail.series.length < 2;
    const key = JSON.stringify([detail.shown_results, detail.series, detail.phrases.map(one => one.regions.length)]);
    if (key === this.#drawn) return; // the pictures that are there stay
    this.#drawn = key;
    this.#painted.clear();
    const phrases = (/** @type {Series} */ series) =>
      detail.phrases.filter(one => one.regions.some(region => region.series === series.index)).length;
    fill(this.place, detail.series.map(series => {
      const count = phrases(series);
      const name = series.description || series.modality;
      return h(
        'button',
        {
          type: 'button', class: 'thumbnail', dataset: { series: series.index }, 'aria-pressed': 'false',
          title: `${series.modality} ${series.description}, ${series.frames} image${series.frames === 1 ? '' : 's'}, ${count} phrase${count === 1 ? '' : 's'} located`,
          onclick: () => this.onOpen(series),
        },
        h('canvas', { width: SIDE, height: SIDE, 'aria-hidden': 'true' }),
        h('span', { class: 'thumbnail-name' }, name),
        h('span', { class: 'thumbnail-facts' }, `${series.frames} · ${series.modality}`,
          count ? h('span', { class: 'count' }, count) : null),
      );
    }));
    this.mark();
  }

  mark() {
    for (const one of /** @type {NodeListOf<HTMLElement>} */ (this.place.querySelectorAll('.thumbnail'))) {
      one.setAttribute('aria-pressed', String(Number(one.dataset.series) === this.stack.series?.index));
    }
  }

  /**
   * Paint the pictures, one after the other: they must not delay the image itself.
   *
   * @param {Detail} detail
   */
  async paint(detail) {
    if (this.place.hidden) return;
    for (const series of detail.series) {
      if (this.#painted.has(keyOf(series))) continue;
      this.#painted.add(keyOf(series));
      const canvas = this.place.querySelector(`[data-series="${series.index}"] canvas`);
      const frame = await this.stack.frames.load(series, Math.floor((series.frames - 1) / 2)).catch(() => null);
      if (!frame) this.#painted.delete(keyOf(series)); // perhaps with the next news
      else if (canvas) paintSmall(/** @type {HTMLCanvasElement} */ (canvas), series, frame);
    }
  }
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Series} series
 * @param {import('./pixels.js').Frame} frame
 */
function paintSmall(canvas, series, frame) {
  const image = new ImageData(series.columns, series.rows);
  shade(frame, series, { ...firstWindow(series, frame), isInverted: false }, image);
  const whole = document.createElement('canvas');
  whole.width = series.columns;
  whole.height = series.rows;
  whole.getContext('2d')?.putImageData(image, 0, 0);
  const height = series.rows * series.pixel_aspect;
  const scale = Math.min(SIDE / series.columns, SIDE / height);
  const context = canvas.getContext('2d');
  if (!context) return;
  context.imageSmoothingQuality = 'high';
  context.drawImage(whole, (SIDE - series.columns * scale) / 2, (SIDE - height * scale) / 2,
    series.columns * scale, height * scale);
}
