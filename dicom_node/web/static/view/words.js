/** How phrases, scores and corrections are put into words, the same all over the page. */

import { h } from '../common/dom.js';
import { counted, dicomDate, moment, probability } from '../common/format.js';

/** @typedef {import('./types.js').Phrase} Phrase */
/** @typedef {import('./types.js').Region} Region */
/** @typedef {import('./types.js').Detail} Detail */
/** @typedef {import('./types.js').Report} Report */

export const SCORE_MEANS =
  'Confidence: the probability, by the model’s own estimate, that the phrase is in the images. ' +
  'It says nothing about whether the outline is exact.';

export const UNCERTAINTY_MEANS =
  'Uncertainty: how unsure the model is of its own answer, from 0 (sure) to 1. ' +
  'High values ask for a second look.';

/**
 * Say what became of a phrase.
 *
 * @param {Phrase} phrase
 * @returns {{kind: 'located' | 'uncertain' | 'absent' | 'unlocated', label: string}}
 */
export function fate(phrase) {
  if (phrase.status === 'absent') {
    return { kind: 'absent', label: phrase.is_stated ? 'absent: never drawn' : 'not found: not drawn' };
  }
  if (!phrase.regions.length) {
    const label = phrase.status === 'uncertain' ? 'uncertain, not located' : 'not located';
    return { kind: 'unlocated', label };
  }
  if (phrase.status === 'uncertain') return { kind: 'uncertain', label: 'uncertain' };
  const count = phrase.regions.length;
  return { kind: 'located', label: count === 1 ? 'located' : `${count} regions` };
}

/**
 * Describe a target for the live region: "liver, slice 12 of 20, confidence 0.94".
 *
 * @param {Detail} detail
 * @param {import('./selection.js').Target} target
 */
export function spoken(detail, target) {
  const phrase = detail.phrases[target.phrase];
  const region = phrase.regions[target.region];
  if (!region) return `${phrase.text}, ${fate(phrase).label}`;
  const series = detail.series[region.series];
  const parts = [phrase.text, `slice ${region.best_frame + 1} of ${series.frames}`];
  if (phrase.status === 'uncertain') parts.push('uncertain');
  parts.push(`confidence ${probability(region.score)}`);
  return parts.join(', ');
}

/**
 * Draw a probability as a small bar with its number.
 *
 * @param {string} name
 * @param {number | null} value
 * @param {string} meaning
 */
export function bar(name, value, meaning) {
  return h(
    'span',
    { class: `measure ${name}`, title: meaning },
    h('span', { class: 'measure-name' }, name),
    h('span', { class: 'measure-track', 'aria-hidden': 'true' },
      h('span', { class: 'measure-fill', variables: { '--share': value ?? 0 } })),
    h('span', { class: 'measure-number' }, probability(value)),
  );
}

/** @param {Report} report */
export function reportTitle(report) {
  if (report.is_prior) return `Prior, ${dicomDate(report.study_date)}`;
  const [kind] = report.source.split(':');
  /** @type {Record<string, string>} */
  const names = {
    sr: 'Structured report',
    pdf: 'PDF report',
    cda: 'CDA document',
    hl7: 'HL7 report',
    fhir: 'FHIR report',
    rest: 'Report',
    tag: 'Reason for study',
    file: 'Report',
  };
  return names[kind] ?? kind;
}

/** @param {import('./types.js').Correction} correction */
export function correctionWords(correction) {
  const did = { accept: 'Accepted', reject: 'Rejected', redraw: 'Redrawn' }[correction.action];
  return `${did} by ${correction.person}, ${moment(correction.at)}`;
}

/**
 * @param {Region} region
 * @param {Detail} detail
 */
export function whereWords(region, detail) {
  const series = detail.series[region.series];
  if (series.frames === 1) return `${series.modality}`;
  const first = region.first_frame + 1;
  const last = region.last_frame + 1;
  const slices = first === last ? `slice ${first}` : `slices ${first}–${last}`;
  return `${slices} of ${series.frames}`;
}

/** @param {Detail} detail */
export function seriesWords(detail) {
  const frames = detail.series.reduce((sum, one) => sum + one.frames, 0);
  return `${counted(detail.series.length, 'series', 'series')}, ${counted(frames, 'image')}`;
}
