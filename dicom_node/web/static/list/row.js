/** One study as a row of the list. */

import { h } from '../common/dom.js';
import { ago, counted, dicomDate, moment, personName, stateLabel } from '../common/format.js';

/**
 * @param {any} study
 * @returns {HTMLElement}
 */
export function studyRow(study) {
  const uid = study.study_instance_uid;
  const description = study.study_description || 'no description';
  return h(
    'tr',
    { dataset: { study: uid } },
    h('td', {}, h('span', { class: `state is-${study.state}` }, stateLabel(study.state)),
      study.priority && study.priority !== 'normal' ? h('span', { class: 'tag', title: 'priority' }, study.priority) : null,
      study.is_prior ? h('span', { class: 'tag' }, 'prior') : null,
      study.reason ? h('span', { class: 'second', title: study.reason }, study.reason) : null),
    h('td', {}, h('a', { class: 'row-link', href: `/view/${encodeURIComponent(uid)}` }, personName(study.patient_name)),
      h('span', { class: 'second' }, [study.patient_id, study.accession_number].filter(Boolean).join(' · '))),
    h('td', {}, h('span', { class: 'first' }, dicomDate(study.study_date), ' ',
      study.modalities.map((/** @type {string} */ one) => h('span', { class: 'modality' }, one))),
    h('span', { class: 'second', title: description }, description)),
    h('td', {}, phrases(study)),
    h('td', {}, deliveries(study.deliveries)),
    h('td', {}, h('time', { class: 'first', datetime: study.last_received_at, title: moment(study.last_received_at) }, ago(study.last_received_at)),
      h('span', { class: 'second' }, `${counted(study.instances, 'object')}${study.versions > 1 ? ` · version ${study.versions}` : ''}`)),
  );
}

/** @param {any} study */
function phrases(study) {
  const found = study.phrases;
  if (!found) return h('span', { class: 'muted' }, study.has_report ? 'report received' : '–');
  const stated = found.present + found.uncertain;
  const share = (/** @type {number} */ count) => count / Math.max(1, stated + found.absent);
  const rest = stated - found.located;
  return [
    h('span', { class: 'first' }, `${found.located} of ${counted(stated, 'phrase')} located`),
    h('span', {
      class: 'phrase-bar',
      'aria-hidden': 'true',
      variables: { '--located': share(found.located), '--missed': share(Math.max(0, rest)), '--absent': share(found.absent) },
    }, h('i', { class: 'located' }), h('i', { class: 'missed' }), h('i', { class: 'absent' })),
    h('span', { class: 'second' }, [found.absent ? `${found.absent} absent` : '', found.uncertain ? `${found.uncertain} uncertain` : '']
      .filter(Boolean).join(' · ')),
  ];
}

/** @param {any[]} list */
function deliveries(list) {
  if (!list.length) return h('span', { class: 'muted' }, '–');
  return list.map(one => {
    const total = one.delivered + one.stored + one.pending + one.dead;
    const tone = one.dead ? 'dead' : one.delivered === total ? 'delivered' : one.last_comment ? 'late' : 'pending';
    const words = one.delivered === total ? '' : ` ${one.delivered}/${total}`;
    const next = one.pending && one.next_attempt_at ? `, next try ${ago(one.next_attempt_at)}` : '';
    return h('span', {
      class: `delivery is-${tone}`,
      title: `${one.destination}: ${one.delivered} delivered, ${one.stored} stored, ${one.pending} pending, ${one.dead} given up${next}${one.last_comment ? `. ${one.last_comment}` : ''}`,
    }, one.destination, words, tone === 'dead' ? ' given up' : '');
  });
}
