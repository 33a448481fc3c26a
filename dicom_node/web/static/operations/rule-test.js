/** Which rule a DICOM file meets: dropped on the page, looked at, and forgotten. */

import { ApiError, post } from '../common/api.js';
import { fill, h } from '../common/dom.js';

/**
 * @param {HTMLElement} drop
 * @param {HTMLInputElement} input
 * @param {HTMLElement} place
 */
export function listenForFiles(drop, input, place) {
  const test = async (/** @type {File | undefined} */ file) => {
    if (!file) return;
    fill(place, h('p', { class: 'muted' }, `Looking at ${file.name}…`));
    const form = new FormData();
    form.set('file', file);
    try {
      draw(place, file, await post('/rules/test', form));
    } catch (error) {
      const words = error instanceof ApiError ? error.message : 'The node does not answer.';
      fill(place, h('p', { class: 'trouble', role: 'alert' }, `${file.name}: ${words}`));
    }
  };
  input.addEventListener('change', () => {
    test(input.files?.[0]);
    input.value = ''; // so that the same file can be chosen again
  });
  drop.addEventListener('dragover', event => {
    event.preventDefault();
    drop.classList.add('is-over');
  });
  drop.addEventListener('dragleave', () => drop.classList.remove('is-over'));
  drop.addEventListener('drop', event => {
    event.preventDefault();
    drop.classList.remove('is-over');
    test(event.dataTransfer?.files[0]);
  });
  // A file that misses the target must not replace the page.
  window.addEventListener('dragover', event => event.preventDefault());
  window.addEventListener('drop', event => event.preventDefault());
}

/**
 * @param {HTMLElement} place
 * @param {File} file
 * @param {any} answer
 */
function draw(place, file, answer) {
  const facts = [
    answer.model ? `model ${answer.model}` : '',
    answer.priority ? `priority ${answer.priority}` : '',
    answer.off_peak ? 'off-peak' : '',
  ].filter(Boolean);
  fill(
    place,
    h('p', { class: 'outcome' },
      h('span', { class: `tag ${answer.action === 'ignore' ? 'caution' : 'good'}`, id: 'rule-action' }, answer.action),
      h('strong', { id: 'rule-name' }, answer.rule ?? 'no rule matches: the default'),
      h('span', { class: 'muted' }, [file.name, ...facts].join(' · '))),
    answer.trace.length ? h('ol', { class: 'trace' }, answer.trace.map((/** @type {any} */ one) =>
      h('li', { class: one.error ? 'is-error' : one.matched ? 'is-match' : 'is-miss' },
        h('span', { class: 'trace-mark', 'aria-hidden': 'true' }, one.error ? '!' : one.matched ? '✓' : '✕'),
        h('span', { class: 'unseen' }, one.error ? 'error: ' : one.matched ? 'matches: ' : 'does not match: '),
        h('strong', {}, one.rule), h('code', {}, one.when), one.error ? h('span', { class: 'trouble' }, one.error) : null))) : null,
    h('div', { class: 'tags scroll-x', tabindex: 0, role: 'region', 'aria-label': 'Tags' },
      h('table', {}, h('tbody', {}, Object.entries(answer.tags).map(([keyword, value]) =>
        h('tr', {}, h('th', { scope: 'row' }, keyword), h('td', {}, Array.isArray(value) ? value.join(' \\ ') : String(value ?? ''))))))),
  );
}
