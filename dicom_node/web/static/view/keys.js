/** The keys that work wherever the focus is on the study page. */

import { byId } from '../common/dom.js';
import { stackKey } from './gestures.js';

/**
 * @param {{stack: import('./stack.js').Stack, toolbar: import('./toolbar.js').Toolbar,
 *          corrections: import('./correct.js').Corrections,
 *          selection: import('./selection.js').Selection}} parts
 */
export function listenToKeys({ stack, toolbar, corrections, selection }) {
  /** @type {Record<string, () => void>} */
  const actions = {
    r: () => stack.reset(),
    i: () => stack.invert(),
    o: () => toolbar.toggleMasks(),
    b: () => toolbar.toggleBoxes(),
    c: () => toolbar.toggleCine(),
    '+': () => stack.zoom(1.25),
    '=': () => stack.zoom(1.25),
    '-': () => stack.zoom(0.8),
    '?': () => byId('help').showModal(),
    Escape: () => selection.select(null),
  };
  window.addEventListener('keydown', event => {
    if (event.defaultPrevented || document.querySelector('dialog[open]')) return;
    const target = /** @type {HTMLElement} */ (event.target);
    const isTyping = target.matches('input:not([type=range]), textarea, select');
    if (isTyping) return;
    if (corrections.key(event)) {
      event.preventDefault();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const isStack = target === stack.canvas || target === document.body;
    if (isStack && stackKey(stack, event)) {
      event.preventDefault();
      return;
    }
    if (event.code === 'Space' && target === stack.canvas) event.preventDefault(); // held for panning
    const action = actions[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
