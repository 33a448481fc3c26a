/** Where a study's time went: a picture of the spans, and the same as a table. */

import { getJson } from '../common/api.js';
import { fill, h, visible } from '../common/dom.js';
import { moment } from '../common/format.js';
import { reportProblem } from '../common/masthead.js';

/**
 * @typedef {{name: string, track: string, begin: string, end: string, seconds: number, is_open: boolean}} Span
 * @typedef {{content_version: string, seconds_to_result: number | null, spans: Span[]}} Version
 */

const SVG = 'http://www.w3.org/2000/svg';
const WIDTH = 600;
const ROW = 22;
const BAR = 14;
const LABEL = 12;
/** A bar of no time is still seen. */
const LEAST = 1.5;
/** Nobody works meanwhile. */
const WAITING = new Set(['quiet time', 'queued', 'until asked again', 'waiting to be sent', 'commitment', 'what is left']);

/**
 * Draw the newest version's time when somebody looks, and again when it is drawn anew.
 *
 * @param {HTMLElement} place
 * @param {string} uid
 * @param {HTMLDetailsElement} around is open when somebody looks
 */
export function followTimeline(place, uid, around) {
  const draw = () => {
    if (!around.open) return;
    getJson(`/studies/${uid}/timeline`)
      .then((/** @type {{versions: Version[]}} */ found) => drawTimeline(place, found.versions[0], uid))
      .catch(reportProblem);
  };
  around.ontoggle = draw;
  draw();
}

/**
 * @param {HTMLElement} place
 * @param {Version | undefined} version
 * @param {string} uid
 */
function drawTimeline(place, version, uid) {
  if (!version) {
    fill(place, h('p', { class: 'muted' }, 'The study is not complete yet.'));
    return;
  }
  const whole = version.seconds_to_result;
  fill(
    place,
    h('p', { class: 'muted' }, whole !== null ? `${seconds(whole)} from the last image to the last result. `
      : version.spans.some(one => one.is_open) ? 'Not all results are delivered yet. ' : '',
    h('a', { href: `/studies/${uid}/trace.json`, download: true }, 'Trace for Perfetto')),
    picture(version.spans),
    h('div', { class: 'scroll-x', tabindex: 0, role: 'region', 'aria-label': 'Stages' }, h('table', { class: 'spans' },
      h('thead', {}, h('tr', {}, ['Stage', 'Of', 'Began', 'Took'].map(one => h('th', { scope: 'col' }, one)))),
      h('tbody', {}, version.spans.map(one => h('tr', {},
        h('td', {}, one.name), h('td', {}, one.track), h('td', {}, h('time', { datetime: one.begin }, moment(one.begin))),
        h('td', {}, seconds(one.seconds), one.is_open ? ' so far' : '')))))),
  );
}

/** @param {Span[]} spans */
function picture(spans) {
  const tracks = [...new Set(spans.map(one => one.track))];
  const begin = Math.min(...spans.map(one => Date.parse(one.begin)));
  const end = Math.max(...spans.map(one => Date.parse(one.end)), begin + 1);
  const scale = WIDTH / (end - begin);
  const height = tracks.length * (ROW + LABEL);
  const drawing = shape('svg', {
    class: 'spans-picture', viewBox: `0 0 ${WIDTH} ${height}`, role: 'img',
    'aria-label': `Stages over ${seconds((end - begin) / 1000)}; the table says the same`,
  });
  tracks.forEach((track, row) => {
    const top = row * (ROW + LABEL);
    const label = shape('text', { x: 0, y: top + LABEL - 2, class: 'span-track' });
    label.textContent = visible(track);
    drawing.append(label);
    for (const one of spans.filter(span => span.track === track)) {
      const bar = shape('rect', {
        class: WAITING.has(one.name) ? 'span-bar is-waiting' : 'span-bar', rx: 2, y: top + LABEL + 2, height: BAR,
        x: (Date.parse(one.begin) - begin) * scale, width: Math.max(LEAST, one.seconds * 1000 * scale),
      });
      const title = shape('title', {});
      title.textContent = visible(`${one.name}: ${seconds(one.seconds)}`);
      bar.append(title);
      drawing.append(bar);
    }
  });
  return drawing;
}

/**
 * @param {string} tag
 * @param {Record<string, string | number>} attributes
 */
function shape(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  return element;
}

/** @param {number} value */
function seconds(value) {
  return `${value < 10 ? value.toFixed(2) : value.toFixed(1)} s`;
}
