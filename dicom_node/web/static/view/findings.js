/** Every phrase as a line of a list: what became of it, how sure the model is, and where. */

import { fill, h } from '../common/dom.js';
import { SCORE_MEANS, UNCERTAINTY_MEANS, bar, correctionWords, fate, whereWords } from './words.js';

/** @typedef {import('./types.js').Detail} Detail */
/** @typedef {import('./types.js').Phrase} Phrase */
/** @typedef {import('./selection.js').Selection} Selection */

const GROUPS = [
  { title: 'In the report', has: (/** @type {Phrase} */ one) => one.is_stated },
  { title: 'From the reason for study', has: (/** @type {Phrase} */ one) => one.source.startsWith('tag:') },
  { title: 'Looked for without a report', has: (/** @type {Phrase} */ one) => !one.is_stated && !one.source.startsWith('tag:') },
];

export class Findings {
  /** @type {Detail | null} */
  #detail = null;
  /** @type {number[]} phrases in the order of the list */
  #order = [];

  /**
   * @param {HTMLElement} place
   * @param {Selection} selection
   */
  constructor(place, selection) {
    this.selection = selection;
    this.list = h('div', {
      class: 'findings', role: 'listbox', tabindex: 0, id: 'findings', 'aria-label': 'Phrases',
    });
    place.append(this.list);
    this.list.addEventListener('keydown', event => this.#key(event));
    this.list.addEventListener('pointerover', event => this.#hover(event));
    this.list.addEventListener('pointerleave', () => selection.hover(null));
    this.list.addEventListener('click', event => this.#pick(event));
    selection.addEventListener('change', event => this.#mark(/** @type {CustomEvent} */ (event).detail));
  }

  /** @param {Detail} detail */
  show(detail) {
    this.#detail = detail;
    this.#order = [];
    const groups = GROUPS.map(({ title, has }, index) => {
      const phrases = detail.phrases.filter(has);
      if (!phrases.length) return null;
      this.#order.push(...phrases.map(one => one.index));
      const id = `findings-group-${index}`;
      return h('div', { role: 'group', 'aria-labelledby': id, class: 'findings-group' },
        h('div', { id, class: 'group-title' }, `${title} `, h('span', { class: 'count' }, phrases.length)),
        phrases.map(one => this.#option(one)));
    });
    fill(this.list, groups);
    this.list.hidden = !this.#order.length;
    this.#mark({ kind: 'draw', from: '' });
  }

  /** @param {Phrase} phrase */
  #option(phrase) {
    const detail = /** @type {Detail} */ (this.#detail);
    const { kind, label } = fate(phrase);
    const [region] = phrase.regions;
    const side = phrase.laterality ? ` · ${phrase.laterality}` : '';
    const site = phrase.site && phrase.site.meaning !== phrase.code.meaning ? ` · ${phrase.site.meaning}` : '';
    return h(
      'div',
      {
        role: 'option', id: `phrase-${phrase.index}`, class: `finding is-${kind}`, 'aria-selected': 'false',
        dataset: { phrase: phrase.index }, variables: region ? { '--hue': region.colour } : {},
      },
      h('span', { class: 'swatch', 'aria-hidden': 'true' }),
      h('span', { class: 'finding-text' }, kind === 'absent' ? h('s', {}, phrase.text) : phrase.text),
      h('span', { class: 'finding-fate' }, label),
      h('span', { class: 'finding-facts' },
        h('span', { class: 'finding-code' }, `${phrase.code.meaning}${site}${side}`),
        phrase.regions.map((one, index) => chip(one, index, detail))),
      phrase.score === null ? null : h('span', { class: 'finding-measures' },
        bar('confidence', phrase.score, SCORE_MEANS),
        bar('uncertainty', phrase.uncertainty, UNCERTAINTY_MEANS)),
    );
  }

  /** @param {{kind: string, from: string}} change */
  #mark({ kind, from }) {
    const { active, selected } = this.selection;
    for (const option of /** @type {NodeListOf<HTMLElement>} */ (this.list.querySelectorAll('.finding'))) {
      const index = Number(option.dataset.phrase);
      option.classList.toggle('is-lit', active?.phrase === index);
      option.setAttribute('aria-selected', String(selected?.phrase === index));
      for (const chip of /** @type {NodeListOf<HTMLElement>} */ (option.querySelectorAll('.region-chip'))) {
        chip.classList.toggle('is-on', active?.phrase === index && active.region === Number(chip.dataset.region));
      }
    }
    if (selected) this.list.setAttribute('aria-activedescendant', `phrase-${selected.phrase}`);
    else this.list.removeAttribute('aria-activedescendant');
    if (kind === 'select' && selected && from !== 'findings-pointer') {
      document.getElementById(`phrase-${selected.phrase}`)?.scrollIntoView({ block: 'nearest', behavior: 'smooth' });
    }
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const { selected } = this.selection;
    const at = selected ? this.#order.indexOf(selected.phrase) : -1;
    const last = this.#order.length - 1;
    /** @type {Record<string, number>} */
    const goals = { ArrowDown: Math.min(last, at + 1), ArrowUp: Math.max(0, at - 1), Home: 0, End: last };
    if (event.key in goals) {
      event.preventDefault();
      this.selection.select(this.#order[goals[event.key]], { from: 'findings' });
    } else if (selected && (event.key === 'ArrowRight' || event.key === 'ArrowLeft')) {
      event.preventDefault();
      const count = this.#detail?.phrases[selected.phrase].regions.length ?? 0;
      if (count < 2) return;
      const region = (selected.region + (event.key === 'ArrowRight' ? 1 : count - 1)) % count;
      this.selection.select(selected.phrase, { region, from: 'findings' });
    } else if (event.key === 'Escape') this.selection.select(null);
  }

  /** @param {PointerEvent} event */
  #hover(event) {
    const found = targetOf(event.target);
    this.selection.hover(found?.phrase ?? null, { region: found?.region ?? 0, from: 'findings' });
  }

  /** @param {MouseEvent} event */
  #pick(event) {
    const found = targetOf(event.target);
    if (!found) return;
    const { selected } = this.selection;
    const isSame = selected?.phrase === found.phrase && selected.region === found.region;
    this.selection.select(isSame ? null : found.phrase, { region: found.region, from: 'findings-pointer' });
  }
}

/** @param {EventTarget | null} target */
function targetOf(target) {
  if (!(target instanceof Element)) return null;
  const option = /** @type {HTMLElement | null} */ (target.closest('.finding'));
  if (!option) return null;
  const chip = /** @type {HTMLElement | null} */ (target.closest('.region-chip'));
  return { phrase: Number(option.dataset.phrase), region: Number(chip?.dataset.region ?? 0) };
}

/**
 * @param {import('./types.js').Region} region
 * @param {number} index
 * @param {Detail} detail
 */
function chip(region, index, detail) {
  const { modality, description } = detail.series[region.series];
  const said = region.correction ? `. ${correctionWords(region.correction)}` : '';
  return h('span', {
    class: 'region-chip', dataset: { region: index }, variables: { '--hue': region.colour },
    title: `${modality} ${description}${said}`,
  }, whereWords(region, detail), chipMark(region));
}

/** @param {import('./types.js').Region} region */
function chipMark(region) {
  if (!region.correction) return null;
  const sign = { accept: '✓', reject: '✕', redraw: '✎' }[region.correction.action];
  return h('span', { class: `chip-mark is-${region.correction.action}` }, sign,
    h('span', { class: 'unseen' }, ` ${region.correction.action}ed`.replace('redrawed', 'redrawn')));
}
