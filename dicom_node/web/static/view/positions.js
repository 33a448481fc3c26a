/** The bar beside the stack: which slice is shown, and on which slices each region lies. */

import { fill, h, setVariables } from '../common/dom.js';

/** @typedef {import('./stack.js').Stack} Stack */
/** @typedef {import('./overlay.js').Overlay} Overlay */
/** @typedef {import('./types.js').Detail} Detail */

const MOST_COLUMNS = 10;

export class PositionBar {
  /**
   * @param {HTMLElement} place
   * @param {Stack} stack
   * @param {Overlay} overlay
   * @param {import('./selection.js').Selection} selection
   */
  constructor(place, stack, overlay, selection) {
    this.place = place;
    this.stack = stack;
    this.overlay = overlay;
    this.selection = selection;
    this.marks = h('div', { class: 'position-marks' });
    this.cursor = h('div', { class: 'position-cursor' });
    this.loaded = h('div', { class: 'position-loaded' });
    fill(place, this.loaded, this.marks, this.cursor);
    stack.addEventListener('shown', () => this.#move());
    selection.addEventListener('change', () => this.#light());
    place.addEventListener('pointerdown', event => this.#drag(event));
    stack.frames.addEventListener('kept', () => this.#progress());
  }

  /** @param {Detail} detail */
  draw(detail) {
    const { series } = this.stack;
    if (!series) return;
    const here = this.overlay.places
      .filter(one => one.region.series === series.index)
      .sort((a, b) => a.region.first_frame - b.region.first_frame);
    /** @type {number[]} where each column is free again */
    const columns = [];
    const marks = here.map(place => {
      const { first_frame: first, last_frame: last, best_frame: best, colour } = place.region;
      let column = columns.findIndex(end => end < first);
      if (column < 0) column = columns.length < MOST_COLUMNS ? columns.length : MOST_COLUMNS - 1;
      columns[column] = last;
      const mark = h('div', {
        class: 'position-mark',
        dataset: { phrase: place.phrase, region: place.index },
        title: `${detail.phrases[place.phrase].text}: slices ${first + 1} to ${last + 1}`,
        variables: {
          '--from': first / series.frames,
          '--span': (last - first + 1) / series.frames,
          '--best': (best - first + 0.5) / (last - first + 1),
          '--column': column,
          '--hue': colour,
        },
        onpointerenter: () => this.selection.hover(place.phrase, { region: place.index, from: 'positions' }),
        onpointerleave: () => this.selection.hover(null),
      });
      return mark;
    });
    fill(this.marks, marks);
    setVariables(this.place, { '--columns': Math.max(1, columns.length) });
    this.place.hidden = series.frames < 2;
    this.#move();
    this.#light();
    this.#progress();
  }

  #move() {
    const { series, shown } = this.stack;
    if (!series || shown === null) return;
    setVariables(this.place, { '--at': shown / series.frames, '--slice': 1 / series.frames });
  }

  #light() {
    const { active } = this.selection;
    for (const mark of /** @type {NodeListOf<HTMLElement>} */ (this.marks.querySelectorAll('.position-mark'))) {
      const isLit = active !== null && Number(mark.dataset.phrase) === active.phrase;
      mark.classList.toggle('is-lit', isLit);
      mark.classList.toggle('is-dim', active !== null && !isLit);
    }
  }

  #progress() {
    const { series } = this.stack;
    if (series) setVariables(this.loaded, { '--share': this.stack.frames.countOf(series) / series.frames });
  }

  /** @param {PointerEvent} event */
  #drag(event) {
    if (event.button !== 0 || !this.stack.series) return;
    event.preventDefault();
    this.place.setPointerCapture(event.pointerId);
    const go = (/** @type {PointerEvent} */ one) => {
      const { top, height } = this.place.getBoundingClientRect();
      this.stack.go(Math.floor(((one.clientY - top) / height) * (this.stack.series?.frames ?? 1)));
    };
    go(event);
    const controller = new AbortController();
    const { signal } = controller;
    this.place.addEventListener('pointermove', go, { signal });
    for (const name of ['pointerup', 'pointercancel']) {
      this.place.addEventListener(name, () => controller.abort(), { signal });
    }
  }
}
