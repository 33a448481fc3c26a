/** The study page: a study's report on one side, its images on the other. */

import { getJson, isOutdated } from '../common/api.js';
import { announce, byId, fill, h, visible } from '../common/dom.js';
import { dicomDate, personName, stateLabel } from '../common/format.js';
import { watch } from '../common/live.js';
import { openPage, reportProblem, showLive } from '../common/masthead.js';
import { Corrections } from './correct.js';
import { drawDetails } from './details.js';
import { Findings } from './findings.js';
import { FrameStore } from './frames.js';
import { listenToPointer } from './gestures.js';
import { listenToKeys } from './keys.js';
import { MaskStore } from './masks.js';
import { Overlay } from './overlay.js';
import { PositionBar } from './positions.js';
import { loadRedrawn } from './redrawn.js';
import { ReportPane } from './report.js';
import { Selection } from './selection.js';
import { Stack } from './stack.js';
import { Thumbnails } from './thumbnails.js';
import { Toolbar } from './toolbar.js';
import { seriesWords, spoken } from './words.js';

/** @typedef {import('./types.js').Detail} Detail */

const study = decodeURIComponent(window.location.pathname.split('/').filter(Boolean)[1] ?? '');
const address = `/studies/${encodeURIComponent(study)}`;

/** @type {Detail} */
let detail;
/** Names the results that the page shows; without any, the content. */
let version = '';
let isReplaced = false;
/** @type {() => Promise<void>} */
let reload = async () => {};

const selection = new Selection();
const frames = new FrameStore(
  (series, frame) => `${address}/series/${series.index}/frames/${frame}?v=${version}`,
);
const masks = newMasks();
const overlay = new Overlay(masks, selection);
const stack = new Stack(byId('stack'), frames);
stack.layersOf = overlay.layersOf.bind(overlay);
const toolbar = new Toolbar(byId('toolbar'), stack, overlay);
const positions = new PositionBar(byId('positions'), stack, overlay, selection);
const thumbnails = new Thumbnails(byId('thumbnails'), stack, series => openSeries(series));
const report = new ReportPane(byId('report'), selection);
const findings = new Findings(byId('phrases'), selection);

try {
  const [me, first] = await Promise.all([openPage('view'), getJson(address)]);
  const corrections = new Corrections(byId('correct'), {
    stack, overlay, selection, study: encodeURIComponent(study), mayCorrect: me.may.correct,
    onSaved: () => reload(),
    onOpen: openSeries,
    onEnd: () => isReplaced && window.location.reload(),
  });
  const draw = (/** @type {Detail} */ news) => {
    show(news);
    if (news !== detail) return;
    corrections.setDetail(news);
    drawDetails(byId('details'), news, { mayRequeue: me.may.operate || me.may.correct, person: me.may.correct ? me.name : null });
  };
  reload = async () => draw(await getJson(address));
  stack.addEventListener('opened', () => corrections.seriesChanged());
  draw(first);
  listenToKeys({ stack, toolbar, corrections, selection });
  watch(changed => {
    if (changed.has(study) || changed.has(null)) reload().catch(reportProblem);
  }, showLive);
} catch (error) {
  reportProblem(error);
  byId('problem').hidden = false;
  byId('problem').textContent = error instanceof Error ? error.message : String(error);
}

/** @param {Detail} news */
function show(news) {
  const newVersion = news.shown_results ?? news.versions[0]?.content_version ?? '';
  if (version && version !== newVersion) {
    // Other images and results: nothing on the page holds any more.
    if (overlay.edit) tellOfNews();
    else window.location.reload();
    return;
  }
  detail = news;
  version = newVersion;
  overlay.setDetail(detail);
  if (selection.selected && selection.selected.phrase >= detail.phrases.length) selection.select(null);
  drawHead();
  report.show(detail);
  findings.show(detail);
  thumbnails.draw(detail);
  if (stack.shown !== null) thumbnails.paint(detail);
  byId('viewport').classList.toggle('is-empty', !detail.series.length);
  stack.worthHaving = overlay.places.map(({ region }) => [detail.series[region.series], region.best_frame]);
  const [first] = overlay.places;
  if (!stack.series && detail.series.length) {
    openSeries(detail.series[first?.region.series ?? 0], first?.region.best_frame);
  } else if (stack.series) {
    positions.draw(detail);
  }
  loadMasks().catch(tellOrReload);
}

/**
 * What belongs to other results than the page's is no failure: it shows the others.
 *
 * @param {unknown} error
 */
function tellOrReload(error) {
  if (isOutdated(error)) reload().catch(reportProblem);
  else reportProblem(error);
}

/** A drawing is not thrown away because news came. */
function tellOfNews() {
  isReplaced = true;
  byId('problem').hidden = false;
  byId('problem').textContent =
    'New results of this study are here. What you draw belongs to the ones you see and cannot be saved any more; stop redrawing to see the new ones.';
}

function newMasks() {
  return new MaskStore(uid => `${address}/regions/${encodeURIComponent(uid)}?v=${version}`);
}

async function loadMasks() {
  const current = stack.series?.index;
  const isHere = (/** @type {{region: {series: number}}} */ one) => one.region.series === current;
  const inOrder = [...overlay.places.filter(isHere), ...overlay.places.filter(one => !isHere(one))];
  await masks.loadAll(inOrder.map(one => one.region.tracking_uid));
  overlay.redrawn = await loadRedrawn(address, detail);
  stack.redraw();
}

/**
 * @param {import('./types.js').Series} series
 * @param {number} [frame]
 */
function openSeries(series, frame) {
  stack.open(series, frame);
  toolbar.offerWindows();
  positions.draw(detail);
  thumbnails.mark();
}

function drawHead() {
  const { study: one, warning } = detail;
  const name = personName(one.patient_name);
  document.title = visible(`${name} · ${one.study_description || 'study'} · dicom-node`);
  fill(
    byId('study-head'),
    h('h1', {}, name),
    h('p', { class: 'study-facts' }, [one.patient_id, dicomDate(one.study_date), one.study_description,
      one.modalities.join(', '), seriesWords(detail)].filter(Boolean).join(' · ')),
    h('p', { class: 'study-state' }, h('span', { class: `state is-${one.state}` }, stateLabel(one.state)),
      one.reason ? h('span', { class: 'reason' }, one.reason) : null,
      one.is_prior ? h('span', { class: 'tag' }, 'prior study') : null,
      one.images_removed_at
        ? h('span', { class: 'reason' }, `its images were removed on ${one.images_removed_at.slice(0, 10)}`) : null),
  );
  byId('warning').textContent = warning;
}

selection.addEventListener('change', event => {
  const { kind, from } = /** @type {CustomEvent} */ (event).detail;
  const { active } = selection;
  stack.redraw();
  if (!active || !detail) return;
  const phrase = detail.phrases[active.phrase];
  const region = phrase.regions[active.region];
  if (region && !overlay.edit && from !== 'stack' && from !== 'positions') {
    openSeries(detail.series[region.series], region.best_frame);
  }
  if (kind === 'select' || from !== 'stack') announce(spoken(detail, active));
});

listenToPointer(stack, overlay, {
  pick: place => selection.select(place?.phrase ?? null, { region: place?.index ?? 0, from: 'stack' }),
  point: place => selection.hover(place?.phrase ?? null, { region: place?.index ?? 0, from: 'stack' }),
});

masks.addEventListener('loaded', () => stack.redraw());
stack.addEventListener('problem', event => tellOrReload(/** @type {CustomEvent} */ (event).detail));
stack.addEventListener(
  'shown',
  () => {
    performance.mark('first-image');
    whenIdle(() => thumbnails.paint(detail));
  },
  { once: true },
);

/** @param {() => void} act */
function whenIdle(act) {
  if ('requestIdleCallback' in window) window.requestIdleCallback(act);
  else setTimeout(act, 200); // Safari has no such call
}
