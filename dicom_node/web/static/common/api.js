/** Asks the node: every request of the page goes through here. */

/** The node's refusal, in its words. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {string} message
   */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/**
 * @param {unknown} error
 * @returns {boolean} whether the same question may be answered later
 */
export function isPassing(error) {
  return !(error instanceof ApiError) || error.status >= 500 || error.status === 429;
}

/**
 * @param {unknown} error
 * @returns {boolean} whether the node says that the page shows what is no longer so
 */
export function isOutdated(error) {
  return error instanceof ApiError && error.status === 409;
}

let asking = new AbortController();

/** End what is on its way and ask nothing more, as whoever signs out is refused. */
export function stopAsking() {
  asking.abort();
}

/** Ask again: the page is not left after all. */
export function askAgain() {
  asking = new AbortController();
}

/**
 * @param {string} path
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
export async function getJson(path, signal) {
  const response = await fetch(path, { headers: { Accept: 'application/json' }, signal: either(signal) });
  await check(response);
  return response.json();
}

/**
 * Fetch one frame's pixels.
 *
 * @param {string} path
 * @param {AbortSignal} [signal]
 * @returns {Promise<{bytes: ArrayBuffer, range: [number, number] | null}>}
 */
export async function getPixels(path, signal) {
  const response = await fetch(path, { signal: either(signal) });
  await check(response);
  const range = response.headers.get('X-Value-Range')?.split(',').map(Number);
  return {
    bytes: await response.arrayBuffer(),
    range: range?.length === 2 && range.every(Number.isFinite) ? [range[0], range[1]] : null,
  };
}

/**
 * Change something: JSON, or a form with files.
 *
 * @param {string} path
 * @param {object | FormData} [body]
 * @returns {Promise<any>} the answer, null if it is empty
 */
export async function post(path, body) {
  /** @type {Record<string, string>} */
  const headers = { 'X-Requested-With': 'dicom-node', Accept: 'application/json' };
  const isForm = body instanceof FormData;
  if (body && !isForm) headers['Content-Type'] = 'application/json';
  const response = await fetch(path, {
    method: 'POST',
    headers,
    body: body && !isForm ? JSON.stringify(body) : body,
  });
  await check(response, { stay: path === '/sign-in' });
  const text = await response.text();
  return text ? JSON.parse(text) : null;
}

/** @param {AbortSignal} [signal] */
function either(signal) {
  return signal ? AbortSignal.any([signal, asking.signal]) : asking.signal;
}

/**
 * @param {Response} response
 * @param {{stay?: boolean}} [options]
 */
async function check(response, { stay = false } = {}) {
  if (response.ok) return;
  if (response.status === 401 && !stay) {
    const here = window.location.pathname + window.location.search;
    window.location.assign(`/sign-in?next=${encodeURIComponent(here)}`);
  }
  let detail = response.statusText || `status ${response.status}`;
  try {
    const body = await response.json();
    if (typeof body.detail === 'string') detail = body.detail;
  } catch {
    // not JSON: the status says enough
  }
  throw new ApiError(response.status, detail);
}
