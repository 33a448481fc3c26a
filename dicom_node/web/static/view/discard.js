/** Asks before a drawing is thrown away. */

import { byId } from '../common/dom.js';

/**
 * Ask whether a drawing may go; whoever leaves the question keeps it.
 *
 * @returns {Promise<boolean>}
 */
export function mayDiscard() {
  const dialog = /** @type {HTMLDialogElement} */ (byId('discard'));
  if (dialog.open) return Promise.resolve(false);
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise(resolve => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'discard'), { once: true });
  });
}
