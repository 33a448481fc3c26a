/** What makes two descriptions of a series the same: news describe it anew. */

/** @typedef {import('./types.js').Series} Series */

/**
 * @param {Series} series
 * @returns {string} the same for every description of it
 */
export function keyOf(series) {
  return `${series.series_instance_uid} ${series.stack_number}`;
}

/**
 * @param {Series | null | undefined} one
 * @param {Series | null | undefined} other
 */
export function isSame(one, other) {
  return Boolean(one && other) && keyOf(/** @type {Series} */ (one)) === keyOf(/** @type {Series} */ (other));
}
