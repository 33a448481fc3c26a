/** Draws the head of every page: the name, the way around, who is signed in, the theme. */

import { ApiError, askAgain, getJson, post, stopAsking } from './api.js';
import { byId, fill, h, icon, toast } from './dom.js';

/**
 * @typedef {object} Me
 * @property {string | null} name
 * @property {string | null} role
 * @property {{see: boolean, correct: boolean, operate: boolean, administer: boolean}} may
 * @property {{needed: boolean, password: boolean, oidc: boolean}} sign_in
 * @property {string} version
 */

/**
 * Draw the head and return who reads; whoever may not see is sent to sign in.
 *
 * @param {'studies' | 'view' | 'operations'} here
 * @returns {Promise<Me>}
 */
export async function openPage(here) {
  const me = /** @type {Me} */ (await getJson('/me'));
  if (!me.may.see) {
    const next = encodeURIComponent(window.location.pathname + window.location.search);
    window.location.replace(`/sign-in?next=${next}`);
    return new Promise(() => {}); // the page is about to go
  }
  drawMasthead(me, here);
  return me;
}

/**
 * Say on the page that it cannot go on, and why.
 *
 * @param {unknown} error
 */
export function reportProblem(error) {
  if (error instanceof DOMException && error.name === 'AbortError') return;
  if (error instanceof ApiError && error.status === 401) return; // on the way to sign-in
  toast(error instanceof ApiError ? error.message : 'The node does not answer.', 'bad');
}

/** @param {HTMLElement} place */
export function drawThemeSwitch(place) {
  const root = document.documentElement;
  const isDark = () =>
    root.dataset.theme
      ? root.dataset.theme === 'dark'
      : !window.matchMedia('(prefers-color-scheme: light)').matches;
  const button = h('button', { type: 'button', class: 'quiet square', id: 'theme-switch' });
  const draw = () => {
    const label = isDark() ? 'Use the light theme' : 'Use the dark theme';
    button.setAttribute('aria-label', label);
    button.title = label;
    fill(button, icon(isDark() ? 'sun' : 'moon'));
  };
  button.addEventListener('click', () => {
    root.dataset.theme = isDark() ? 'light' : 'dark';
    window.localStorage.setItem('theme', root.dataset.theme);
    draw();
  });
  draw();
  place.append(button);
}

/**
 * @param {Me} me
 * @param {'studies' | 'view' | 'operations'} here
 */
function drawMasthead(me, here) {
  const place = byId('masthead');
  const link = (/** @type {string} */ name, /** @type {string} */ href, /** @type {string} */ label) =>
    h('a', { href, 'aria-current': here === name ? 'page' : null }, label);
  fill(
    place,
    h('a', { class: 'brand', href: '/' }, icon('mark'), 'dicom-node'),
    h(
      'nav',
      { 'aria-label': 'Pages' },
      link('studies', '/', 'Studies'),
      link('operations', '/operations', 'Operations'),
    ),
    h('span', { class: 'spacer' }),
    h('span', { class: 'warning-tag' }, icon('warning'), 'AI - not for diagnostic use'),
    h('span', { class: 'spacer' }),
    h('span', { id: 'live', class: 'live', hidden: true }),
    h('span', { class: 'who' }, me.name ? `${me.name} · ${me.role}` : me.role ? `read only · ${me.role}` : ''),
  );
  if (me.name) place.append(h('button', { type: 'button', class: 'quiet', onclick: signOut }, 'Sign out'));
  else if (me.sign_in.password || me.sign_in.oidc) {
    place.append(h('a', { class: 'button quiet', href: '/sign-in' }, 'Sign in'));
  }
  drawThemeSwitch(place);
}

async function signOut() {
  stopAsking();
  // A browser that goes back may show the page as it was left, a patient's name in it.
  window.addEventListener('pageshow', event => {
    if (event.persisted) window.location.reload();
  });
  try {
    await post('/sign-out');
    window.location.assign('/sign-in');
  } catch (error) {
    askAgain();
    reportProblem(error);
  }
}

/**
 * Show in the head whether the page is told of changes as they happen.
 *
 * @param {boolean} isLive
 */
export function showLive(isLive) {
  const place = byId('live');
  place.hidden = false;
  place.classList.toggle('is-live', isLive);
  place.title = isLive
    ? 'Changes are shown as they happen'
    : 'No connection for events: the page asks every five seconds';
  fill(place, isLive ? 'live' : 'asking');
}
