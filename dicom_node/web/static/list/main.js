/** The list of studies: searched, filtered, paged, and kept up to date. */

import { getJson } from '../common/api.js';
import { announce, byId, fill, h } from '../common/dom.js';
import { counted, stateLabel } from '../common/format.js';
import { watch } from '../common/live.js';
import { openPage, reportProblem, showLive } from '../common/masthead.js';
import { banners } from './banners.js';
import { studyRow } from './row.js';

const PAGE = 50;
const STATES = ['collecting', 'ready', 'processing', 'done', 'failed', 'ignored', 'idle'];
const TYPING_MS = 200;

const query = new URLSearchParams(window.location.search);
const view = {
  state: query.get('state') ?? '',
  q: query.get('q') ?? '',
  /** @type {string[]} the cursors of the pages before this one, this one last */
  cursors: [],
};

/** @type {AbortController | null} */
let running = null;
let typing = 0;

try {
  await openPage('studies');
  byId('search').value = view.q;
  byId('search').addEventListener('input', () => {
    window.clearTimeout(typing);
    typing = window.setTimeout(() => change({ q: byId('search').value.trim() }), TYPING_MS);
  });
  byId('older').addEventListener('click', () => {
    view.cursors.push(byId('older').dataset.cursor ?? '');
    load({ isTurn: true });
  });
  byId('newer').addEventListener('click', () => {
    view.cursors.pop();
    load({ isTurn: true });
  });
  window.addEventListener('keydown', moveByKey);
  await load({});
  watch(() => load({}), showLive);
} catch (error) {
  reportProblem(error);
}

/** @param {{state?: string, q?: string}} changes */
function change(changes) {
  Object.assign(view, changes, { cursors: [] });
  const address = new URLSearchParams();
  if (view.state) address.set('state', view.state);
  if (view.q) address.set('q', view.q);
  window.history.replaceState(null, '', address.size ? `/?${address}` : '/');
  load({ isTurn: true });
}

/** @param {{isTurn?: boolean}} options isTurn: the reader asked for other studies */
async function load({ isTurn = false }) {
  running?.abort();
  running = new AbortController();
  const parameters = new URLSearchParams({ limit: String(PAGE) });
  if (view.state) parameters.set('state', view.state);
  if (view.q) parameters.set('q', view.q);
  const cursor = view.cursors.at(-1);
  if (cursor) parameters.set('before', cursor);
  try {
    const [answer, operations] = await Promise.all([
      getJson(`/studies?${parameters}`, running.signal),
      getJson('/operations.json', running.signal).catch(() => null), // not everybody may see it
    ]);
    draw(answer, operations);
    if (isTurn) announce(counted(answer.studies.length, 'study', 'studies'));
  } catch (error) {
    reportProblem(error);
  }
}

/**
 * @param {any} answer
 * @param {any} operations
 */
function draw(answer, operations) {
  drawStates(answer.counts);
  const focused = document.activeElement?.closest('tr')?.dataset.study;
  fill(byId('rows'), answer.studies.map(studyRow));
  if (focused) linkOf(focused)?.focus({ preventScroll: true });
  const isEmpty = !answer.studies.length;
  byId('empty').hidden = !isEmpty;
  byId('empty').textContent = view.q || view.state
    ? 'No study matches.'
    : 'No study has arrived yet. Send one by C-STORE or STOW-RS; it appears here at once.';
  byId('studies').classList.toggle('is-empty', isEmpty);
  byId('older').disabled = !answer.next;
  byId('older').dataset.cursor = answer.next ?? '';
  byId('newer').disabled = !view.cursors.length;
  byId('page-number').textContent = view.cursors.length || answer.next ? `page ${view.cursors.length + 1}` : '';
  const lines = banners(operations);
  byId('banner').hidden = !lines.length;
  fill(byId('banner'), lines.map(line => h('p', {}, line)));
}

/** @param {Record<string, number>} counts */
function drawStates(counts) {
  const all = Object.values(counts).reduce((sum, one) => sum + one, 0);
  const segment = (/** @type {string} */ state, /** @type {string} */ label, /** @type {number} */ count) =>
    h('button', {
      type: 'button', class: 'segment', 'aria-pressed': String(view.state === state),
      dataset: { state }, onclick: () => change({ state }),
    }, label, ' ', h('span', { class: 'count' }, count));
  const isFocused = byId('states').contains(document.activeElement);
  fill(
    byId('states'),
    segment('', 'All', all),
    STATES.filter(one => counts[one] || view.state === one).map(one => segment(one, stateLabel(one), counts[one] ?? 0)),
  );
  if (isFocused) byId('states').querySelector('[aria-pressed="true"]')?.focus();
}

/** @param {string} study */
function linkOf(study) {
  return /** @type {HTMLElement | null} */ (document.querySelector(`tr[data-study="${CSS.escape(study)}"] a`));
}

/** @param {KeyboardEvent} event */
function moveByKey(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (target.matches('input')) {
    if (event.key === 'Escape') target.blur();
    if (event.key !== 'ArrowDown') return;
  }
  if (event.key === '/') {
    event.preventDefault();
    byId('search').focus();
    return;
  }
  const step = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const links = /** @type {HTMLElement[]} */ ([...document.querySelectorAll('#rows a')]);
  const at = links.findIndex(one => one === document.activeElement);
  links[at < 0 ? 0 : Math.min(links.length - 1, Math.max(0, at + step))]?.focus();
}
