/** Turns the numbers of a frame into grey: the VOI LUT of the page. */

/** @typedef {import('./types.js').Series} Series */
/** @typedef {{values: Int16Array | Uint8Array, range: [number, number]}} Frame */

/** @typedef {{centre: number, width: number, isInverted: boolean}} Shades */
/** @typedef {Series['windows'][number]['function']} VoiFunction */

const OPAQUE = 0xff000000;

/**
 * Read a frame's bytes.
 *
 * @param {ArrayBuffer} bytes
 * @param {Series} series
 * @param {[number, number] | null} range
 * @returns {Frame}
 */
export function toFrame(bytes, series, range) {
  const count = series.rows * series.columns;
  const expected = { int16: 2 * count, uint8: count, rgb8: 3 * count }[series.dtype];
  if (bytes.byteLength !== expected) {
    throw new Error(`a frame has ${bytes.byteLength} bytes and should have ${expected}`);
  }
  const values = series.dtype === 'int16' ? new Int16Array(bytes) : new Uint8Array(bytes);
  return { values, range: range ?? rangeOf(values) };
}

/**
 * Choose how a series is shown first: its first window, or all values of a frame.
 *
 * @param {Series} series
 * @param {Frame} frame
 * @returns {{centre: number, width: number}}
 */
export function firstWindow(series, frame) {
  const [preset] = series.windows;
  if (preset) return { centre: preset.centre, width: preset.width };
  if (series.dtype !== 'int16') return { centre: 128, width: 256 };
  const [low, high] = frame.range;
  return { centre: (low + high + 1) / 2, width: Math.max(1, high - low + 1) };
}

/**
 * Paint a frame.
 *
 * @param {Frame} frame
 * @param {Series} series
 * @param {Shades} shades
 * @param {ImageData} target of the frame's size
 */
export function shade(frame, series, shades, target) {
  const out = new Uint32Array(target.data.buffer);
  const voi = functionOf(series, shades);
  if (series.dtype === 'rgb8') {
    shadeColour(frame.values, { ...shades, voi }, out);
    return;
  }
  const isSigned = series.dtype === 'int16';
  const table = lookupTable({ ...shades, voi }, isSigned ? -32768 : 0, isSigned ? 32767 : 255);
  const offset = isSigned ? 32768 : 0;
  const { values } = frame;
  for (let index = 0; index < values.length; index += 1) out[index] = table[values[index] + offset];
}

/**
 * Find the function of a window: one that the image names brings its own, and one that
 * a person draws is linear.
 *
 * @param {Series} series
 * @param {Shades} shades
 * @returns {VoiFunction}
 */
export function functionOf(series, { centre, width }) {
  const named = series.windows.find(one => one.centre === centre && one.width === width);
  return named?.function ?? 'LINEAR';
}

/** @type {{key: string, table: Uint32Array}} */
let lastTable = { key: '', table: new Uint32Array(0) };

/**
 * Make a VOI LUT Function (PS3.3 C.11.2.1.2 and C.11.2.1.3) as a table of pixels.
 *
 * @param {Shades & {voi: VoiFunction}} shades
 * @param {number} low
 * @param {number} high
 */
export function lookupTable({ centre, width, isInverted, voi }, low, high) {
  const key = [centre, width, isInverted, voi, low, high].join();
  if (lastTable.key === key) return lastTable.table;
  const table = new Uint32Array(high - low + 1);
  for (let value = low; value <= high; value += 1) {
    const grey = windowed(value, centre, width, voi);
    const level = isInverted ? 255 - grey : grey;
    table[value - low] = (OPAQUE | (level << 16) | (level << 8) | level) >>> 0;
  }
  lastTable = { key, table };
  return table;
}

/**
 * @param {number} value
 * @param {number} centre
 * @param {number} width
 * @param {VoiFunction} voi
 */
function windowed(value, centre, width, voi) {
  if (voi === 'SIGMOID') return Math.round(255 / (1 + Math.exp(-4 * (value - centre) / width)));
  const isExact = voi === 'LINEAR_EXACT';
  const middle = isExact ? centre : centre - 0.5;
  const range = isExact ? width : width - 1;
  if (range <= 0) return value <= middle ? 0 : 255;
  const share = (value - middle) / range + 0.5;
  return share <= 0 ? 0 : share >= 1 ? 255 : Math.round(share * 255);
}

/**
 * @param {Int16Array | Uint8Array} values
 * @param {Shades & {voi: VoiFunction}} shades
 * @param {Uint32Array} out
 */
function shadeColour(values, { centre, width, isInverted, voi }, out) {
  const table = new Uint8Array(256);
  for (let value = 0; value < 256; value += 1) {
    const level = windowed(value, centre, width, voi);
    table[value] = isInverted ? 255 - level : level;
  }
  for (let index = 0, at = 0; index < out.length; index += 1, at += 3) {
    const [red, green, blue] = [table[values[at]], table[values[at + 1]], table[values[at + 2]]];
    out[index] = (OPAQUE | (blue << 16) | (green << 8) | red) >>> 0;
  }
}

/**
 * @param {Int16Array | Uint8Array} values
 * @returns {[number, number]}
 */
function rangeOf(values) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return values.length ? [low, high] : [0, 0];
}
