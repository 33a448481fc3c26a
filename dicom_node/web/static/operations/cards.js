/** The cards of the operations page: health, queue, model, disk, destinations, errors. */

import { fill, h } from '../common/dom.js';
import { ago, counted, duration, moment, size } from '../common/format.js';

/** @type {Record<string, string>} */
const CHECK_NAMES = { dicom: 'DICOM', hl7: 'HL7' };

/**
 * @param {HTMLElement} place
 * @param {any} state
 */
export function healthCard(place, state) {
  const checks = Object.entries(state.checks);
  const { open, accepted, rejected } = state.associations;
  fill(
    place,
    h('h2', {}, 'Health', h('span', { class: `tag ${state.ready ? 'good' : 'bad'}` }, state.ready ? 'ready' : 'not ready')),
    h('ul', { class: 'checks' }, checks.map(([name, value]) =>
      h('li', { class: value === 'ok' ? 'is-good' : 'is-bad' }, h('span', {}, CHECK_NAMES[name] ?? name.replaceAll('_', ' ')), h('span', {}, String(value))))),
    facts([
      ['Version', state.version],
      ['Up for', duration(state.uptime_s)],
      ['Associations', `${open} open, ${accepted} accepted, ${rejected} rejected`],
      ['Waiting reports', state.waiting_reports],
    ]),
  );
}

/**
 * @param {HTMLElement} place
 * @param {any} state
 * @param {{onPause: (on: boolean) => void, onDrain: (on: boolean) => void} | null} switches
 *     null: the reader may not
 */
export function queueCard(place, { queue }, switches) {
  const word = queue.is_draining ? 'draining' : queue.is_paused ? 'paused' : 'running';
  const focused = place.contains(document.activeElement) ? document.activeElement?.id : '';
  fill(
    place,
    h('h2', {}, 'Queue', h('span', { class: `tag ${word === 'running' ? 'good' : 'caution'}` }, word)),
    h('div', { class: 'numbers' },
      number(queue.processing, 'processing'),
      number(queue.waiting, 'waiting'),
      number(queue.off_peak, 'off-peak')),
    switches
      ? h('div', { class: 'card-actions' },
        h('button', { type: 'button', id: 'pause', 'aria-pressed': String(queue.is_paused), onclick: () => switches.onPause(!queue.is_paused) },
          queue.is_paused ? 'Resume' : 'Pause'),
        h('button', { type: 'button', id: 'drain', 'aria-pressed': String(queue.is_draining), onclick: () => switches.onDrain(!queue.is_draining) },
          queue.is_draining ? 'Stop draining' : 'Drain'))
      : h('p', { class: 'muted' }, 'Administrators can pause and drain.'),
  );
  if (focused) document.getElementById(focused)?.focus();
}

/**
 * @param {HTMLElement} place
 * @param {any} model
 */
export function modelCard(place, model) {
  fill(
    place,
    h('h2', {}, 'Model', h('span', { class: `tag ${model.is_loaded ? 'good' : 'caution'}` }, model.is_loaded ? 'loaded' : 'not loaded')),
    facts([
      ['Name', model.name],
      ['Version', model.version],
      ['Device', model.device],
      ['SHA-256', model.sha256 ? h('code', { title: model.sha256 }, `${model.sha256.slice(0, 16)}…`) : null],
    ]),
    model.trouble ? h('p', { class: 'trouble' }, model.trouble) : null,
  );
}

/**
 * @param {HTMLElement} place
 * @param {any} disk
 */
export function diskCard(place, disk) {
  const used = 1 - disk.free_bytes / Math.max(1, disk.total_bytes);
  fill(
    place,
    h('h2', {}, 'Disk', h('span', { class: 'tag' }, `${size(disk.free_bytes)} free`)),
    h('div', { class: 'gauge', role: 'img', 'aria-label': `${Math.round(used * 100)} percent used`, variables: { '--share': used } },
      h('i', {})),
    facts([
      ['Of', size(disk.total_bytes)],
      ['This node', disk.used_by_node_bytes == null ? null : size(disk.used_by_node_bytes)],
    ]),
  );
}

/**
 * @param {HTMLElement} place
 * @param {any[]} destinations
 */
export function destinationsCard(place, destinations) {
  fill(
    place,
    h('h2', {}, 'Destinations'),
    destinations.length
      ? table('Destinations', ['Name', 'Kind', 'Profile', 'Delivered', 'Stored', 'Pending', 'Given up', 'Oldest waits since'], destinations.map(one => [
        h('strong', {}, one.name), one.kind, one.profile, one.delivered, one.stored, one.pending,
        one.dead ? h('span', { class: 'state is-dead' }, one.dead) : 0,
        one.oldest_pending_at ? h('time', { datetime: one.oldest_pending_at, title: moment(one.oldest_pending_at) }, ago(one.oldest_pending_at)) : '–',
      ]))
      : h('p', { class: 'muted' }, 'None: results stay here, for the page, DICOMweb and downloads.'),
  );
}

/**
 * @param {HTMLElement} place
 * @param {any[]} errors
 */
export function errorsCard(place, errors) {
  fill(
    place,
    h('h2', {}, 'Recent errors', h('span', { class: 'tag' }, counted(errors.length, 'error'))),
    errors.length
      ? table('Recent errors', ['When', 'What', 'About', 'Reason'], errors.map(one => [
        h('time', { datetime: one.at }, moment(one.at)), String(one.kind).replaceAll('_', ' '),
        h('code', { title: one.subject }, shorten(String(one.subject ?? ''))), one.reason,
      ]))
      : h('p', { class: 'muted' }, 'None.'),
  );
}

/** @param {string} subject a UID is told by its end */
function shorten(subject) {
  return subject.length > 24 ? `…${subject.slice(-22)}` : subject;
}

/**
 * @param {number} value
 * @param {string} label
 */
function number(value, label) {
  return h('div', { class: 'number' }, h('strong', {}, value), h('span', {}, label));
}

/** @param {[string, any][]} rows */
function facts(rows) {
  return h('dl', { class: 'facts' }, rows.filter(([, value]) => value !== null && value !== undefined && value !== '')
    .flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]));
}

/**
 * @param {string} label
 * @param {string[]} heads
 * @param {any[][]} rows
 */
function table(label, heads, rows) {
  return h('div', { class: 'scroll-x', tabindex: 0, role: 'region', 'aria-label': label },
    h('table', {},
      h('thead', {}, h('tr', {}, heads.map(one => h('th', { scope: 'col' }, one)))),
      h('tbody', {}, rows.map(cells => h('tr', {}, cells.map(cell => h('td', {}, cell)))))));
}
