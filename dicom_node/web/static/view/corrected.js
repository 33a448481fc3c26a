/** The corrected result: its report and segmentation, and who takes responsibility. */

import { getPixels } from '../common/api.js';
import { h, icon } from '../common/dom.js';
import { counted } from '../common/format.js';
import { reportProblem } from '../common/masthead.js';

/** @typedef {import('./types.js').Detail} Detail */

/**
 * Draw the downloads of what people corrected.
 *
 * @param {Detail} detail
 * @param {string | null} person who looks, null for nobody in particular
 * @returns {HTMLElement[]} nothing where nobody corrected anything
 */
export function corrected(detail, person) {
  const shown = detail.versions.find(one => one.content_version === detail.shown_version);
  const older = detail.versions.filter(one => one !== shown && one.corrected_regions);
  const address = `/studies/${encodeURIComponent(detail.study.study_instance_uid)}/corrections`;
  const parts = [];
  if (shown?.corrected_regions) {
    parts.push(links(address, ''));
    if (mayVerify(detail, person)) parts.push(verification(address));
  }
  if (older.length) {
    parts.push(h('p', { class: 'muted' },
      'Corrections stay with the version of the results that they were made on:'));
    parts.push(...older.map(one => h('div', { class: 'older-corrections' },
      h('span', { class: 'muted' }, `${one.content_version.slice(0, 8)} · ${counted(one.corrected_regions, 'region', 'regions')}`),
      links(address, `?content_version=${one.content_version}`))));
  }
  return parts;
}

/**
 * @param {string} address
 * @param {string} query
 */
function links(address, query) {
  const link = (/** @type {string} */ label, /** @type {string} */ name) =>
    h('li', {}, h('a', { href: `${address}/${name}${query}`, download: true }, icon('download'), label));
  return h('ul', { class: 'downloads' },
    link('Corrected report (SR)', 'report.dcm'),
    link('Report and redrawn regions (SR and SEG, ZIP)', 'result.zip'));
}

/**
 * Whether who looks made all of the newest corrections; the node decides.
 *
 * @param {Detail} detail
 * @param {string | null} person
 */
function mayVerify(detail, person) {
  const made = detail.phrases.flatMap(one => one.regions).flatMap(one => one.correction ?? []);
  return person !== null && made.length > 0 && made.every(one => one.person === person);
}

/** @param {string} address */
function verification(address) {
  const fetchIt = h('button', {
    type: 'button', id: 'verify', disabled: true,
    onclick: () => download(`${address}/report.dcm?verify=true`, 'report-verified.dcm'),
  }, icon('check'), 'Verified report (SR)');
  return h('div', { class: 'verification' },
    h('label', {},
      h('input', {
        type: 'checkbox', id: 'responsible',
        onchange: (/** @type {Event} */ event) => {
          fetchIt.toggleAttribute('disabled', !(/** @type {HTMLInputElement} */ (event.target).checked));
        },
      }),
      ' I take responsibility for the whole of this report as its verifying observer, also for regions that nobody judged. The report is then final, and carries my name.'),
    fetchIt);
}

/**
 * Fetch first and save then: a refusal is told on the page and not saved as a file.
 *
 * @param {string} path
 * @param {string} name
 */
async function download(path, name) {
  try {
    const { bytes } = await getPixels(path);
    const url = URL.createObjectURL(new Blob([bytes], { type: 'application/dicom' }));
    h('a', { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  } catch (error) {
    reportProblem(error);
  }
}
