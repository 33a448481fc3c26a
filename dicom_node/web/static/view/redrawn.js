/** Fetches what people drew in place of the machine's regions. */

import { getJson } from '../common/api.js';
import { drawnMask } from './edit.js';

/**
 * Fetch the drawings that hold: the newest correction of a region, if it is a drawing.
 *
 * @param {string} address of the study
 * @param {import('./types.js').Detail} detail
 * @returns {Promise<Map<string, import('./masks.js').RegionMask>>} by tracking UID
 */
export async function loadRedrawn(address, detail) {
  const redrawn = detail.phrases
    .flatMap(one => one.regions)
    .filter(one => one.correction?.action === 'redraw');
  if (!redrawn.length) return new Map();
  const corrections = await getJson(`${address}/corrections`);
  return new Map(
    redrawn.map(region => {
      const [newest] = corrections
        .filter((/** @type {any} */ one) => one.tracking_uid === region.tracking_uid)
        .sort((/** @type {any} */ a, /** @type {any} */ b) => b.id - a.id);
      return [region.tracking_uid, drawnMask(newest?.frames ?? [], detail.series[region.series])];
    }),
  );
}
