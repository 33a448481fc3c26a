/** The controls over the image stack, and the words that lie on its corners. */

import { byId, fill, h, icon, visible } from '../common/dom.js';

/** @typedef {import('./stack.js').Stack} Stack */
/** @typedef {import('./overlay.js').Overlay} Overlay */

const CINE_MS = 80;

export class Toolbar {
  #timer = 0;

  /**
   * @param {HTMLElement} place
   * @param {Stack} stack
   * @param {Overlay} overlay
   */
  constructor(place, stack, overlay) {
    this.stack = stack;
    this.overlay = overlay;
    this.presets = /** @type {HTMLSelectElement} */ (h('select', {
      id: 'presets', 'aria-label': 'Window', onchange: () => this.#usePreset(),
    }));
    this.masks = this.#toggle('mask', 'Regions', 'O', () => this.toggleMasks());
    this.boxes = this.#toggle('box', 'Boxes', 'B', () => this.toggleBoxes());
    this.invert = this.#toggle('invert', 'Invert', 'I', () => stack.invert());
    this.cine = this.#toggle('play', 'Cine', 'C', () => this.toggleCine());
    this.opacity = /** @type {HTMLInputElement} */ (h('input', {
      type: 'range', id: 'opacity', min: 0, max: 100, value: String(overlay.opacity * 100),
      'aria-label': 'Opacity of the regions', title: 'Opacity of the regions',
      oninput: () => {
        overlay.opacity = Number(this.opacity.value) / 100;
        stack.redraw();
      },
    }));
    fill(
      place,
      this.presets,
      h('span', { class: 'group' }, this.masks, this.boxes, this.opacity),
      h('span', { class: 'group' }, this.invert, this.cine,
        this.#button('reset', 'Reset the view (R)', () => stack.reset())),
      h('span', { class: 'spacer' }),
      this.#button('key', 'Keys and mouse (?)', () => byId('help').showModal()),
    );
    stack.addEventListener('shown', () => this.#describe());
    stack.addEventListener('view', () => this.#describe());
    this.#press();
  }

  /** Offer the windows of the series that is open. */
  offerWindows() {
    const windows = this.stack.series?.windows ?? [];
    fill(this.presets, windows.map((one, index) => h('option', { value: String(index) }, one.name || 'Window')),
      h('option', { value: '', disabled: windows.length > 0 }, 'Custom window'));
    this.#describe();
  }

  toggleMasks() {
    this.overlay.showMasks = !this.overlay.showMasks;
    this.#press();
    this.stack.redraw();
  }

  toggleBoxes() {
    this.overlay.showBoxes = !this.overlay.showBoxes;
    this.#press();
    this.stack.redraw();
  }

  toggleCine() {
    if (this.#timer) {
      window.clearInterval(this.#timer);
      this.#timer = 0;
    } else {
      this.#timer = window.setInterval(() => {
        const { stack } = this;
        // Wait for a slice that is still on its way, so that none is left out.
        if (!stack.series || stack.series.frames < 2) return;
        if (stack.shown !== stack.wanted && !stack.isMissing) return;
        stack.go((stack.wanted + 1) % stack.series.frames);
      }, CINE_MS);
    }
    this.#press();
  }

  #usePreset() {
    const preset = this.stack.series?.windows[Number(this.presets.value)];
    if (this.presets.value !== '' && preset) this.stack.setWindow(preset.centre, preset.width);
  }

  #press() {
    const { overlay, stack } = this;
    this.masks.setAttribute('aria-pressed', String(overlay.showMasks));
    this.boxes.setAttribute('aria-pressed', String(overlay.showBoxes));
    this.invert.setAttribute('aria-pressed', String(stack.shades.isInverted));
    this.cine.setAttribute('aria-pressed', String(this.#timer !== 0));
    fill(this.cine, icon(this.#timer ? 'pause' : 'play'));
  }

  #describe() {
    const { series, shown, shades, camera } = this.stack;
    this.#press();
    if (!series || shown === null) return;
    const { centre, width } = shades;
    const { slope = 1, intercept = 0 } = series;
    const near = series.windows.findIndex(one =>
      Math.abs(one.centre - centre) < 0.5 && Math.abs(one.width - width) < 0.5);
    this.presets.value = near < 0 ? '' : String(near);
    byId('corner-slice').textContent = series.frames > 1 ? `${shown + 1} / ${series.frames}` : '';
    byId('corner-window').textContent = `W ${Math.round(width * slope)}  L ${Math.round(centre * slope + intercept)}`;
    byId('corner-zoom').textContent = `${Math.round(camera.zoom * 100)} %`;
    byId('corner-series').textContent = visible([series.modality, series.description].filter(Boolean).join(' · '));
    for (const side of /** @type {const} */ (['left', 'right', 'top', 'bottom'])) {
      byId(`side-${side}`).textContent = series.sides?.[side] ?? '';
    }
    const { canvas } = this.stack;
    canvas.setAttribute('aria-valuemax', String(series.frames));
    canvas.setAttribute('aria-valuenow', String(shown + 1));
    canvas.setAttribute('aria-valuetext', `slice ${shown + 1} of ${series.frames}`);
    canvas.setAttribute('aria-label', `Images, ${series.modality} ${series.description}`.trim());
  }

  /**
   * @param {string} picture
   * @param {string} label
   * @param {string} key
   * @param {() => void} act
   */
  #toggle(picture, label, key, act) {
    const button = this.#button(picture, `${label} (${key})`, act);
    button.setAttribute('aria-pressed', 'false');
    button.setAttribute('aria-label', label);
    return button;
  }

  /**
   * @param {string} picture
   * @param {string} title
   * @param {() => void} act
   */
  #button(picture, title, act) {
    return h('button', { type: 'button', class: 'quiet square', title, 'aria-label': title, onclick: act }, icon(picture));
  }
}
