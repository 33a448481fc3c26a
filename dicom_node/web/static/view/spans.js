/**
 * Cuts a report's text at the borders of its phrases.
 *
 * The node counts in code points, JavaScript strings in UTF-16 units: text is cut as
 * an array of code points, so that a character beyond the basic plane counts once.
 */

/**
 * @typedef {object} Piece
 * @property {string} text
 * @property {number} start in code points
 * @property {number[]} phrases indices of the phrases over it, the shortest first
 */

/**
 * Cut text into pieces that are each covered by the same phrases all along.
 *
 * @param {string} text
 * @param {{index: number, span: [number, number] | null}[]} phrases
 * @returns {Piece[]} in order; joined they are the text
 */
export function cutAtSpans(text, phrases) {
  const characters = Array.from(text);
  const spans = phrases
    .flatMap(({ index, span }) => (span ? [{ index, start: span[0], end: span[1] }] : []))
    .filter(({ start, end }) => start < end && end <= characters.length)
    .sort((a, b) => a.end - a.start - (b.end - b.start) || a.index - b.index);
  const borders = new Set([0, characters.length]);
  for (const { start, end } of spans) borders.add(start).add(end);
  const cuts = [...borders].sort((a, b) => a - b);
  const pieces = [];
  for (let position = 0; position + 1 < cuts.length; position += 1) {
    const [start, end] = [cuts[position], cuts[position + 1]];
    pieces.push({
      text: characters.slice(start, end).join(''),
      start,
      phrases: spans.filter(one => one.start <= start && end <= one.end).map(one => one.index),
    });
  }
  return pieces;
}
