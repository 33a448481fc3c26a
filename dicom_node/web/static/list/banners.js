/** What a reader of the list should know of the node: it is paused, it has no model. */

/**
 * @param {any} operations the answer of /operations.json, null if it may not be seen
 * @returns {string[]}
 */
export function banners(operations) {
  if (!operations) return [];
  const { queue, model, waiting_reports: waiting } = operations;
  const lines = [];
  if (queue.is_draining) lines.push('The node is draining: it finishes what runs and starts nothing new.');
  else if (queue.is_paused) lines.push('Processing is paused: studies are received and wait.');
  if (!model.is_loaded && model.trouble) {
    lines.push(`The model is not loaded: ${model.trouble}. Studies wait until it is.`);
  }
  if (waiting > 0) {
    lines.push(`${waiting} ${waiting === 1 ? 'report waits' : 'reports wait'} for a study that has not come.`);
  }
  return lines;
}
