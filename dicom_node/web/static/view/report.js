/** The reports of a study as tabs, with each phrase marked where it stands in the text. */

import { fill, h } from '../common/dom.js';
import { moment } from '../common/format.js';
import { cutAtSpans } from './spans.js';
import { fate, reportTitle } from './words.js';

/** @typedef {import('./types.js').Detail} Detail */
/** @typedef {import('./types.js').Phrase} Phrase */
/** @typedef {import('./types.js').Report} Report */
/** @typedef {import('./selection.js').Selection} Selection */

export class ReportPane {
  /** @type {Detail | null} */
  #detail = null;
  #open = 0;

  /**
   * @param {HTMLElement} place
   * @param {Selection} selection
   */
  constructor(place, selection) {
    this.place = place;
    this.selection = selection;
    this.tabs = h('div', { class: 'tabs', role: 'tablist', 'aria-label': 'Reports' });
    this.panel = h('div', { class: 'report-panel', role: 'tabpanel', id: 'report-panel', tabindex: 0 });
    fill(place, this.tabs, this.panel);
    selection.addEventListener('change', event => this.#mark(/** @type {CustomEvent} */ (event).detail));
    this.panel.addEventListener('pointerover', event => this.#hover(event.target));
    this.panel.addEventListener('pointerleave', () => selection.hover(null));
    this.panel.addEventListener('focusin', event => this.#hover(event.target));
    this.panel.addEventListener('focusout', () => selection.hover(null));
    this.panel.addEventListener('click', event => this.#pick(event.target));
    this.panel.addEventListener('keydown', event => {
      if (event.key !== 'Enter' && event.key !== ' ') return;
      if (this.#pick(event.target)) event.preventDefault();
    });
  }

  /** @param {Detail} detail */
  show(detail) {
    this.#detail = detail;
    this.#open = Math.min(this.#open, Math.max(0, detail.reports.length - 1));
    this.#draw();
  }

  /** @param {string} source */
  openSource(source) {
    const index = this.#detail?.reports.findIndex(one => one.source === source && !one.is_prior) ?? -1;
    if (index < 0 || index === this.#open) return;
    this.#open = index;
    this.#draw();
  }

  #draw() {
    const { reports } = /** @type {Detail} */ (this.#detail);
    this.tabs.hidden = reports.length < 2;
    fill(this.tabs, reports.map((report, index) => this.#tab(report, index)));
    const report = reports[this.#open];
    if (!report) {
      fill(this.panel, h('p', { class: 'empty' }, 'No report came with this study.'));
      return;
    }
    this.panel.setAttribute('aria-label', reportTitle(report));
    fill(this.panel, this.#notes(report), h('div', { class: 'report-text' }, this.#text(report)));
    this.#mark({ kind: 'draw', from: 'report' });
  }

  /**
   * @param {Report} report
   * @param {number} index
   */
  #tab(report, index) {
    const isOpen = index === this.#open;
    const tab = h(
      'button',
      {
        type: 'button', class: 'tab', role: 'tab', 'aria-selected': String(isOpen),
        'aria-controls': 'report-panel', tabindex: isOpen ? 0 : -1,
        onclick: () => this.#openTab(index),
        onkeydown: (/** @type {KeyboardEvent} */ event) => {
          const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
          if (!step) return;
          event.preventDefault();
          const count = this.#detail?.reports.length ?? 1;
          this.#openTab((index + step + count) % count);
          /** @type {HTMLElement} */ (this.tabs.children[this.#open]).focus();
        },
      },
      reportTitle(report),
    );
    if (!report.is_current && !report.is_prior) tab.append(h('span', { class: 'tag' }, 'superseded'));
    return tab;
  }

  /** @param {number} index */
  #openTab(index) {
    this.#open = index;
    this.#draw();
  }

  /** @param {Report} report */
  #notes(report) {
    const notes = [];
    if (report.is_prior) {
      notes.push(h('p', { class: 'note' },
        'An earlier study’s report, for reading only: nothing of it is drawn on these images.'));
    } else if (!report.is_current) {
      notes.push(h('p', { class: 'note caution' }, 'Superseded: a newer text of this report replaced it.'));
    }
    if (report.source.startsWith('tag:')) {
      notes.push(h('p', { class: 'note' }, 'The question that was asked, not an answer: its phrases are weak.'));
    }
    const facts = [report.status, moment(report.received_at)].filter(Boolean);
    if (facts.length) notes.push(h('p', { class: 'report-facts' }, facts.join(' · ')));
    return notes;
  }

  /** @param {Report} report */
  #text(report) {
    const detail = /** @type {Detail} */ (this.#detail);
    const canMark = report.is_current && !report.is_prior;
    const phrases = canMark ? detail.phrases.filter(one => one.source === report.source && one.span) : [];
    const anchored = new Set();
    return cutAtSpans(report.text.trimEnd(), phrases).map(piece => {
      if (!piece.phrases.length) return piece.text;
      const [first] = piece.phrases;
      const anchors = piece.phrases.filter(index => !anchored.has(index));
      const anchor = anchors.includes(first) ? first : (anchors[0] ?? null);
      if (anchor !== null) anchored.add(anchor);
      return this.#piece(piece, detail.phrases[anchor ?? first], anchor !== null);
    });
  }

  /**
   * @param {import('./spans.js').Piece} piece
   * @param {Phrase} phrase the one that it answers to
   * @param {boolean} isAnchor whether the keyboard stops here for it
   */
  #piece(piece, phrase, isAnchor) {
    const { kind, label } = fate(phrase);
    const isAbsent = kind === 'absent';
    return h(
      'span',
      {
        class: `phrase is-${kind}`,
        dataset: { phrase: phrase.index, phrases: ` ${piece.phrases.join(' ')} ` },
        variables: phrase.regions.length ? { '--hue': phrase.regions[0].colour } : {},
        title: `${phrase.code.meaning}: ${label}`,
        ...(isAnchor ? { role: 'button', tabindex: 0, 'aria-pressed': 'false', 'aria-label': `${phrase.text}, ${label}` } : {}),
      },
      isAbsent ? h('s', {}, piece.text) : piece.text,
    );
  }

  /** @param {{kind: string, from: string}} change */
  #mark({ kind, from }) {
    const { active, selected } = this.selection;
    for (const piece of this.panel.querySelectorAll('.phrase')) {
      const phrases = /** @type {HTMLElement} */ (piece).dataset.phrases ?? '';
      piece.classList.toggle('is-lit', active !== null && phrases.includes(` ${active.phrase} `));
      const isSelected = selected !== null && phrases.includes(` ${selected.phrase} `);
      piece.classList.toggle('is-selected', isSelected);
      if (piece.hasAttribute('aria-pressed')) piece.setAttribute('aria-pressed', String(isSelected));
    }
    if (kind !== 'select' || from === 'report' || !selected || !this.#detail) return;
    this.openSource(this.#detail.phrases[selected.phrase].source);
    this.panel.querySelector(`[data-phrases~="${selected.phrase}"]`)
      ?.scrollIntoView({ block: 'nearest', behavior: 'smooth' });
  }

  /** @param {EventTarget | null} target */
  #hover(target) {
    const phrase = phraseOf(target);
    this.selection.hover(phrase, { from: 'report' });
  }

  /** @param {EventTarget | null} target */
  #pick(target) {
    const phrase = phraseOf(target);
    if (phrase === null) return false;
    const isSelected = this.selection.selected?.phrase === phrase;
    this.selection.select(isSelected ? null : phrase, { from: 'report' });
    return true;
  }
}

/** @param {EventTarget | null} target */
function phraseOf(target) {
  const piece = target instanceof Element ? target.closest('.phrase') : null;
  return piece ? Number(/** @type {HTMLElement} */ (piece).dataset.phrase) : null;
}
