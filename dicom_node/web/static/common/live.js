/** Tells when something changed in the node: server-sent events, or a clock. */

const POLL_MS = 5000;
const QUIET_MS = 250;
const RECONNECT_MS = 30000;

/**
 * Call back when something changed, at most once in a quarter of a second.
 *
 * @param {(studies: Set<string | null>) => void} onChange UIDs of changed studies;
 *     null among them: anything may have changed
 * @param {(isLive: boolean) => void} [onState] whether events flow
 */
export function watch(onChange, onState = () => {}) {
  /** @type {Set<string | null>} */
  let changed = new Set();
  let timer = 0;
  let poll = 0;

  const tell = (/** @type {string | null} */ study) => {
    changed.add(study);
    if (timer) return;
    timer = window.setTimeout(() => {
      timer = 0;
      const news = changed;
      changed = new Set();
      onChange(news);
    }, QUIET_MS);
  };

  const setLive = (/** @type {boolean} */ isLive) => {
    onState(isLive);
    if (isLive && poll) {
      window.clearInterval(poll);
      poll = 0;
    } else if (!isLive && !poll) {
      poll = window.setInterval(() => {
        if (!document.hidden) tell(null);
      }, POLL_MS);
    }
  };

  let isFirst = true;
  const connect = () => {
    const source = new EventSource('/changes');
    source.addEventListener('open', () => {
      setLive(true);
      if (!isFirst) tell(null); // what happened while it was away
      isFirst = false;
    });
    source.addEventListener('message', event => tell(studyOf(event.data)));
    source.addEventListener('error', () => {
      setLive(false);
      if (source.readyState === EventSource.CLOSED) window.setTimeout(connect, RECONNECT_MS);
    });
    window.addEventListener('pagehide', () => source.close(), { once: true });
  };
  connect();
}

/** @param {string} data */
function studyOf(data) {
  try {
    return JSON.parse(data).study_instance_uid ?? null;
  } catch {
    return null;
  }
}
