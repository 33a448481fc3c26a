/** What a person says about a region: accept, reject, or draw it anew. */

import { isOutdated, post } from '../common/api.js';
import { byId, fill, h, icon, toast } from '../common/dom.js';
import { reportProblem } from '../common/masthead.js';
import { mayDiscard } from './discard.js';
import { Edit } from './edit.js';
import { isSame } from './series.js';
import { correctionWords, whereWords } from './words.js';

/** @typedef {import('./types.js').Detail} Detail */
/** @typedef {import('./types.js').Region} Region */

export class Corrections {
  /** @type {Detail | null} */
  #detail = null;
  #isBusy = false;

  /**
   * @param {HTMLElement} place
   * @param {{stack: import('./stack.js').Stack, overlay: import('./overlay.js').Overlay,
   *          selection: import('./selection.js').Selection, study: string,
   *          mayCorrect: boolean, onSaved: () => Promise<void>,
   *          onOpen: (series: import('./types.js').Series, frame?: number) => void,
   *          onEnd: () => void}} parts onEnd: when nothing is drawn any more
   */
  constructor(place, parts) {
    this.place = place;
    this.parts = parts;
    parts.selection.addEventListener('change', event => {
      if (/** @type {CustomEvent} */ (event).detail.kind === 'select' && !parts.overlay.edit) this.draw();
    });
  }

  /** @param {Detail} detail */
  setDetail(detail) {
    this.#detail = detail;
    if (!this.parts.overlay.edit) this.draw();
  }

  draw() {
    const { overlay, selection } = this.parts;
    const before = this.#typed();
    const chosen = selection.selected;
    const region = chosen && this.#detail?.phrases[chosen.phrase]?.regions[chosen.region];
    // Where regions can be corrected the bar is always there: images must not move
    // when a phrase is chosen.
    const canCorrect = this.parts.mayCorrect && overlay.places.length > 0;
    this.place.hidden = !(canCorrect || region?.correction);
    if (overlay.edit) this.#drawEditor(overlay.edit);
    else if (region && chosen) this.#drawChoice(region, chosen.phrase);
    else fill(this.place, h('p', { class: 'muted' }, 'Choose a phrase or click a region to accept, reject or redraw it.'));
    const uid = overlay.edit?.region.tracking_uid ?? region?.tracking_uid ?? '';
    this.#restore(before, uid);
  }

  /** What is being typed about a region, and whether the focus is there. */
  #typed() {
    const input = /** @type {HTMLInputElement | null} */ (document.getElementById('comment'));
    return { uid: this.place.dataset.region, text: input?.value ?? '', hasFocus: input === document.activeElement };
  }

  /**
   * News of the study must not take away what is being typed.
   *
   * @param {{uid: string | undefined, text: string, hasFocus: boolean}} before
   * @param {string} uid
   */
  #restore(before, uid) {
    this.place.dataset.region = uid;
    const input = /** @type {HTMLInputElement | null} */ (document.getElementById('comment'));
    if (!input || before.uid !== uid || !before.text) return;
    input.value = before.text;
    if (before.hasFocus) input.focus();
  }

  /**
   * @param {Region} region
   * @param {number} phrase
   */
  #drawChoice(region, phrase) {
    const detail = /** @type {Detail} */ (this.#detail);
    const { correction } = region;
    fill(
      this.place,
      h('div', { class: 'correct-head', variables: { '--hue': region.colour } },
        h('span', { class: 'swatch', 'aria-hidden': 'true' }),
        h('strong', {}, detail.phrases[phrase].text),
        h('span', { class: 'muted' }, whereWords(region, detail)),
        correction ? h('span', {
          class: `verdict is-${correction.action}`,
          title: correction.action === 'accept' ? null : 'The dashed outline is the machine’s result; it stays as it was.',
        }, correctionWords(correction)) : null,
        correction?.comment ? h('q', { title: correction.comment }, correction.comment) : null),
      this.parts.mayCorrect ? h('div', { class: 'correct-actions' },
        comment(),
        h('button', { type: 'button', id: 'accept', onclick: () => this.#send(region, { action: 'accept' }) }, icon('check'), 'Accept'),
        h('button', { type: 'button', id: 'reject', onclick: () => this.#send(region, { action: 'reject' }) }, icon('cross'), 'Reject'),
        h('button', { type: 'button', id: 'redraw', onclick: () => this.#startEdit(region) }, icon('brush'), 'Redraw')) : null,
    );
  }

  /** @param {Region} region */
  async #startEdit(region) {
    const { overlay, stack } = this.parts;
    const series = this.#detail?.series[region.series];
    if (!series) return;
    try {
      const machine = await overlay.masks.load(region.tracking_uid);
      const edit = new Edit(region, series, machine, overlay.redrawn.get(region.tracking_uid));
      edit.addEventListener('change', () => {
        stack.redraw();
        this.#refreshEditor(edit);
      });
      overlay.edit = edit;
      if (!isSame(stack.series, series)) this.parts.onOpen(series, region.best_frame);
      else if (!machine.has(stack.wanted)) stack.go(region.best_frame);
      stack.redraw();
      this.draw();
      this.seriesChanged();
      stack.canvas.focus();
    } catch (error) {
      reportProblem(error);
    }
  }

  /** @param {Edit} edit */
  #drawEditor(edit) {
    const tool = (/** @type {'brush' | 'eraser'} */ name, /** @type {string} */ label) =>
      h('button', {
        type: 'button', id: `tool-${name}`, 'aria-pressed': String(edit.tool === name),
        onclick: () => this.#useTool(edit, name),
      }, icon(name), label);
    fill(
      this.place,
      h('div', { class: 'correct-head', variables: { '--hue': edit.region.colour } },
        h('span', { class: 'swatch', 'aria-hidden': 'true' }),
        h('strong', {}, 'Redraw this region'),
        h('span', { class: 'muted' }, 'dashed: the machine’s outline'),
        h('span', { class: 'spacer' }),
        h('span', { class: 'group' }, tool('brush', 'Brush'), tool('eraser', 'Eraser')),
        h('label', { class: 'size' }, 'Size',
          h('input', {
            type: 'range', id: 'brush-size', min: 1, max: 80, value: String(edit.size),
            oninput: (/** @type {Event} */ event) => {
              edit.size = Number(/** @type {HTMLInputElement} */ (event.target).value);
              byId('brush-number').textContent = `${edit.size} px`;
            },
          }),
          h('output', { id: 'brush-number' }, `${edit.size} px`)),
        h('button', { type: 'button', id: 'undo', disabled: !edit.canUndo, onclick: () => edit.undo() }, icon('undo'), 'Undo')),
      h('div', { class: 'correct-actions' },
        comment(),
        h('button', { type: 'button', id: 'save', class: 'primary', onclick: () => this.#save(edit) }, 'Save'),
        h('button', { type: 'button', id: 'cancel', onclick: () => this.leaveEdit() }, 'Cancel'),
        h('p', { id: 'elsewhere', class: 'elsewhere', role: 'status' })),
    );
    this.seriesChanged();
  }

  /** @param {Edit} edit */
  #refreshEditor(edit) {
    const undo = /** @type {HTMLButtonElement | null} */ (document.getElementById('undo'));
    if (undo) undo.disabled = !edit.canUndo;
  }

  /**
   * @param {Edit} edit
   * @param {'brush' | 'eraser'} tool
   */
  #useTool(edit, tool) {
    edit.tool = tool;
    for (const name of ['brush', 'eraser']) byId(`tool-${name}`).setAttribute('aria-pressed', String(name === tool));
  }

  /** @param {Edit} edit */
  async #save(edit) {
    const frames = edit.toFrames();
    if (!frames.length) {
      toast('Nothing is drawn. To say that there is nothing, reject the region.', 'bad');
      return;
    }
    if (await this.#send(edit.region, { action: 'redraw', frames })) this.stopEdit();
  }

  stopEdit() {
    const hadFocus = this.place.contains(document.activeElement);
    this.parts.overlay.edit = null;
    this.seriesChanged();
    this.parts.stack.redraw();
    this.draw();
    if (hadFocus) document.getElementById('redraw')?.focus();
    this.parts.onEnd();
  }

  /** Stop redrawing; what is drawn goes only after a question. */
  async leaveEdit() {
    const { edit } = this.parts.overlay;
    if (!edit || (edit.isChanged && !(await mayDiscard()))) return;
    if (this.parts.overlay.edit === edit) this.stopEdit();
  }

  /** Say where the drawing is, while another series is shown: there nothing is drawn. */
  seriesChanged() {
    const { overlay, stack } = this.parts;
    const { edit } = overlay;
    document.body.classList.toggle('is-editing', Boolean(overlay.drawingOn(stack.series)));
    const note = document.getElementById('elsewhere');
    if (!note || !edit) return;
    const isElsewhere = Boolean(stack.series) && !isSame(stack.series, edit.series);
    fill(note, isElsewhere ? [
      `The drawing is on ${seriesName(edit.series)}: nothing is drawn on this series.`,
      h('button', { type: 'button', id: 'back-to-drawing', onclick: () => this.#goBack(edit) }, 'Back to it'),
    ] : []);
  }

  /** @param {Edit} edit */
  #goBack(edit) {
    this.parts.onOpen(edit.series);
    this.parts.stack.canvas.focus();
  }

  /**
   * @param {KeyboardEvent} event
   * @returns {boolean} whether the key was one of the editor's
   */
  key(event) {
    const { edit } = this.parts.overlay;
    if (!edit) return false;
    const resize = (/** @type {number} */ by) => {
      const input = byId('brush-size');
      input.value = String(edit.size + by);
      input.dispatchEvent(new Event('input'));
    };
    /** @type {Record<string, () => void>} */
    const actions = {
      '[': () => resize(-2),
      ']': () => resize(2),
      e: () => this.#useTool(edit, 'eraser'),
      d: () => this.#useTool(edit, 'brush'),
      Escape: () => void this.leaveEdit(),
    };
    if (event.key === 'z' && (event.ctrlKey || event.metaKey)) edit.undo();
    else if (event.ctrlKey || event.metaKey || !(event.key in actions)) return false;
    else actions[event.key]();
    return true;
  }

  /**
   * @param {Region} region
   * @param {{action: string, frames?: {frame: number, runs: number[]}[]}} body
   * @returns {Promise<boolean>} whether the node took it
   */
  async #send(region, body) {
    if (this.#isBusy) return false;
    this.#isBusy = true;
    const path = `/studies/${this.parts.study}/regions/${region.tracking_uid}/corrections`;
    try {
      await post(path, {
        ...body, comment: byId('comment').value.trim(), results: this.#detail?.shown_results,
      });
      byId('comment').value = '';
      toast({ accept: 'Accepted.', reject: 'Rejected.', redraw: 'Your drawing is saved.' }[body.action] ?? 'Saved.');
      await this.parts.onSaved();
      return true;
    } catch (error) {
      reportProblem(error);
      if (isOutdated(error)) await this.parts.onSaved().catch(reportProblem);
      return false;
    } finally {
      this.#isBusy = false;
    }
  }
}

/** @param {import('./types.js').Series} series */
function seriesName(series) {
  return series.description ? `“${series.description}”` : `another ${series.modality} series`;
}

function comment() {
  return h('input', { type: 'text', id: 'comment', maxlength: 500, placeholder: 'Comment', 'aria-label': 'Comment' });
}
