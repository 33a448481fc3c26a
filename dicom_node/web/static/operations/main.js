/** The operations page: how the node is, and the switches for those who may. */

import { getJson, post } from '../common/api.js';
import { byId, fill, h } from '../common/dom.js';
import { watch } from '../common/live.js';
import { openPage, reportProblem, showLive } from '../common/masthead.js';
import { banners } from '../list/banners.js';
import { destinationsCard, diskCard, errorsCard, healthCard, modelCard, queueCard } from './cards.js';
import { listenForFiles } from './rule-test.js';

const REFRESH_MS = 5000; // uptime, disk and queue move without an event

try {
  const me = await openPage('operations');
  const load = async () => {
    const state = await getJson('/operations.json');
    healthCard(byId('health'), state);
    queueCard(byId('queue'), state, me.may.administer ? { onPause: pause, onDrain: drain } : null);
    modelCard(byId('model'), state.model);
    diskCard(byId('disk'), state.disk);
    destinationsCard(byId('destinations'), state.destinations);
    errorsCard(byId('errors'), state.recent_errors);
    const lines = banners(state);
    byId('banner').hidden = !lines.length;
    fill(byId('banner'), lines.map(line => h('p', {}, line)));
  };
  const set = async (/** @type {string} */ path, /** @type {object} */ body) => {
    try {
      await post(path, body);
      await load();
    } catch (error) {
      reportProblem(error);
    }
  };
  const pause = (/** @type {boolean} */ paused) => set('/operations/pause', { paused });
  const drain = (/** @type {boolean} */ draining) => set('/operations/drain', { draining });
  listenForFiles(byId('drop'), byId('file'), byId('rule-result'));
  await load();
  watch(() => load().catch(reportProblem), showLive);
  window.setInterval(() => {
    if (!document.hidden) load().catch(() => showLive(false));
  }, REFRESH_MS);
} catch (error) {
  reportProblem(error);
}
