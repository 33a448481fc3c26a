/** Writes dates, names, sizes and states for people. */

const HIDDEN_PARTS = /[=].*$/;

/**
 * Write a person name (PS3.5 6.2.1.1) as "Family, Given".
 *
 * @param {string | null | undefined} value
 */
export function personName(value) {
  if (!value) return 'no name';
  const [family, given, middle] = value.replace(HIDDEN_PARTS, '').split('^');
  const rest = [given, middle].filter(Boolean).join(' ');
  return [family, rest].filter(Boolean).join(', ') || 'no name';
}

/**
 * Write a DA value (YYYYMMDD) as 2026-01-31.
 *
 * @param {string | null | undefined} value
 */
export function dicomDate(value) {
  const parts = /^(\d{4})-?(\d\d)-?(\d\d)/.exec(value ?? '');
  return parts ? `${parts[1]}-${parts[2]}-${parts[3]}` : value || 'no date';
}

/**
 * Write a moment in the reader's own time.
 *
 * @param {string | null | undefined} value ISO 8601
 */
export function moment(value) {
  if (!value) return '';
  const at = new Date(value);
  if (Number.isNaN(at.getTime())) return value;
  const two = (/** @type {number} */ number) => String(number).padStart(2, '0');
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

/**
 * Write how long ago a moment is.
 *
 * @param {string | null | undefined} value ISO 8601
 * @param {number} [now] milliseconds
 */
export function ago(value, now = Date.now()) {
  if (!value) return '';
  const seconds = Math.round((now - new Date(value).getTime()) / 1000);
  if (Number.isNaN(seconds)) return '';
  if (seconds < -45) return `in ${duration(-seconds)}`;
  if (seconds < 45) return 'just now';
  return `${duration(seconds)} ago`;
}

/** @param {number} seconds */
export function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`;
  if (seconds < 36 * 3600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

/** @param {number | null | undefined} bytes */
export function size(bytes) {
  if (bytes == null) return '';
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/**
 * Write a probability with two digits; a dash where there is none.
 *
 * @param {number | null | undefined} value from 0 to 1
 */
export function probability(value) {
  return value == null ? '–' : value.toFixed(2);
}

/**
 * @param {number} count
 * @param {string} one
 * @param {string} [many]
 */
export function counted(count, one, many = `${one}s`) {
  return `${count.toLocaleString('en')} ${count === 1 ? one : many}`;
}

/** What a reader sees instead of a state's name. */
export const STATE_LABELS = {
  idle: 'Idle',
  collecting: 'Receiving',
  ready: 'Waiting',
  processing: 'Processing',
  done: 'Done',
  failed: 'Failed',
  ignored: 'Ignored',
  superseded: 'Superseded',
};

/** @param {string} state */
export function stateLabel(state) {
  return STATE_LABELS[/** @type {keyof typeof STATE_LABELS} */ (state)] ?? state;
}
