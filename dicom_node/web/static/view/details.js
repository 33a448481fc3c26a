/** What went where and when: versions, deliveries, files, events, and what was left out. */

import { post } from '../common/api.js';
import { byId, fill, h, icon, toast } from '../common/dom.js';
import { moment, size, stateLabel } from '../common/format.js';
import { reportProblem } from '../common/masthead.js';
import { corrected } from './corrected.js';
import { followTimeline } from './timeline.js';

/** @typedef {import('./types.js').Detail} Detail */

/**
 * Draw all of it.
 *
 * @param {HTMLElement} place
 * @param {Detail} detail
 * @param {{mayRequeue: boolean, person: string | null}} who
 */
export function drawDetails(place, detail, { mayRequeue, person }) {
  // Whoever takes responsibility ticks it again after news: they may have changed it.
  const byPeople = corrected(detail, person);
  const uid = detail.study.study_instance_uid;
  const spans = h('div', { id: 'spans' });
  const hasResult = detail.versions.some(one => one.has_result);
  fill(
    place,
    hasResult ? section('Downloads', downloads(detail, uid)) : null,
    byPeople.length ? section('Corrected result', ...byPeople) : null,
    section('Deliveries', detail.deliveries.length ? deliveries(detail) : nothing('Nothing is sent to anyone: no destination asks for it.')),
    section('Versions', versions(detail),
      mayRequeue ? h('button', { type: 'button', id: 'requeue', onclick: () => requeue(uid) }, icon('again'), 'Process again') : null),
    detail.not_processed.length ? section('Not processed', notProcessed(detail)) : null,
    section('Where the time went', spans),
    section('Timeline', timeline(detail)),
    detail.model ? h('p', { class: 'muted model' },
      `Model ${detail.model.name} ${detail.model.version} · SHA-256 ${detail.model.sha256.slice(0, 16)}…`) : null,
  );
  followTimeline(spans, uid, byId('more'));
}

/**
 * @param {string} title
 * @param {...any} children
 */
function section(title, ...children) {
  return h('section', { class: 'detail' }, h('h3', {}, title), children);
}

/** @param {string} text */
function nothing(text) {
  return h('p', { class: 'muted' }, text);
}

/**
 * @param {Detail} detail
 * @param {string} uid
 */
function downloads(detail, uid) {
  const file = (/** @type {string} */ label, /** @type {string} */ path, facts = '') =>
    h('li', {}, h('a', { href: `/studies/${uid}/${path}`, download: true }, icon('download'), label),
      facts ? h('span', { class: 'muted' }, facts) : null);
  return h('ul', { class: 'downloads' },
    file('All as ZIP', 'results.zip'),
    file('result.json', 'result.json'),
    file('FHIR bundle', 'fhir.json'),
    detail.objects.map(one => file(one.kind, `objects/${one.sop_instance_uid}`, `${one.profile} · ${size(one.size_bytes)}`)));
}

/** @param {Detail} detail */
function deliveries(detail) {
  return table(['Destination', 'Object', 'State', 'Tries', 'When'], detail.deliveries.map(one => [
    one.destination,
    one.kind,
    h('span', { class: `state is-${one.state}`, title: one.last_comment || null }, one.state),
    one.attempts,
    moment(one.delivered_at ?? one.last_attempt_at) || (one.next_attempt_at ? `next ${moment(one.next_attempt_at)}` : ''),
  ]), detail.deliveries.map(one => (one.state === 'delivered' ? '' : one.last_comment)));
}

/** @param {Detail} detail */
function versions(detail) {
  return h('ol', { class: 'versions', reversed: true }, detail.versions.map(one => h('li', { class: one.is_latest ? 'is-latest' : 'is-old' },
    h('span', { class: `state is-${one.state}` }, stateLabel(one.state)),
    h('code', { title: `content version ${one.content_version}` }, one.content_version.slice(0, 8)),
    h('span', { class: 'muted' }, moment(/** @type {any} */ (one).finished_at ?? /** @type {any} */ (one).created_at)),
    one.is_latest ? h('span', { class: 'tag good' }, 'current')
      : one.state === 'superseded' ? null : h('span', { class: 'tag' }, 'superseded'),
    one.reason ? h('p', { class: 'reason' }, one.reason) : null)));
}

/** @param {Detail} detail */
function notProcessed(detail) {
  return h('ul', { class: 'left-out' }, detail.not_processed.map(one =>
    h('li', {}, h('span', {}, one.reason), h('code', {}, one.series_instance_uid))));
}

/** @param {Detail} detail */
function timeline(detail) {
  return h('ol', { class: 'timeline' }, detail.events.map(one => h('li', {},
    h('time', { datetime: one.at }, moment(one.at)),
    h('span', { class: 'event-kind' }, String(one.kind).replaceAll('_', ' ')),
    one.detail ? h('span', { class: 'muted' }, describe(one.detail)) : null)));
}

/** @param {any} value */
function describe(value) {
  if (typeof value === 'string') return value;
  return Object.entries(value).filter(([, one]) => one !== null && one !== '' && typeof one !== 'object')
    .map(([key, one]) => `${key.replaceAll('_', ' ')} ${one}`).join(', ');
}

/**
 * @param {string[]} heads
 * @param {any[][]} rows
 * @param {(string | null | undefined)[]} notes what is said below a row
 */
function table(heads, rows, notes) {
  return h('div', { class: 'scroll-x', tabindex: 0, role: 'region', 'aria-label': 'Deliveries' },
    h('table', {},
      h('thead', {}, h('tr', {}, heads.map(one => h('th', { scope: 'col' }, one)))),
      h('tbody', {}, rows.flatMap((cells, index) => [
        h('tr', {}, cells.map(cell => h('td', {}, cell))),
        ...(notes[index] ? [h('tr', { class: 'row-note' }, h('td', { colspan: heads.length }, notes[index]))] : []),
      ]))));
}

/** @param {string} uid */
async function requeue(uid) {
  try {
    const answer = await post(`/studies/${uid}/requeue`);
    toast(`Process again: ${answer.outcome}.`);
  } catch (error) {
    reportProblem(error);
  }
}
