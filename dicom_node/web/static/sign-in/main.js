/** The sign-in page: a name and a password, or the hospital's own provider. */

import { ApiError, getJson, post } from '../common/api.js';
import { byId } from '../common/dom.js';
import { drawThemeSwitch, reportProblem } from '../common/masthead.js';

drawThemeSwitch(byId('theme'));

try {
  const { sign_in: doors } = await getJson('/me');
  byId('form').hidden = !doors.password;
  byId('oidc').hidden = !doors.oidc;
  byId('or').hidden = !(doors.password && doors.oidc);
  if (doors.password) byId('name').focus();
  if (!doors.password && !doors.oidc) {
    byId('closed').hidden = false;
    byId('closed').textContent = doors.needed
      ? 'Nobody can sign in yet: an administrator adds people with “dicom-node user add NAME --role admin”.'
      : 'No sign-in is needed here.';
  }
} catch (error) {
  reportProblem(error);
}

byId('form').addEventListener('submit', async (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  const refusal = byId('refusal');
  const button = byId('form').querySelector('button');
  refusal.hidden = true;
  button.disabled = true;
  try {
    await post('/sign-in', { name: byId('name').value, password: byId('password').value });
    window.location.replace(next());
  } catch (error) {
    refusal.textContent = wordsFor(error);
    refusal.hidden = false;
    byId('password').select();
  } finally {
    button.disabled = false;
  }
});

/** Where the reader wanted to go: a path of this node and nothing else. */
function next() {
  const wanted = new URLSearchParams(window.location.search).get('next') ?? '/';
  const target = new URL(wanted, window.location.origin);
  return target.origin === window.location.origin ? target.pathname + target.search : '/';
}

/** @param {unknown} error */
function wordsFor(error) {
  if (!(error instanceof ApiError)) return 'The node does not answer.';
  if (error.status === 401) return 'Name and password do not go together.';
  if (error.status === 429) return 'Too many attempts. Wait a little and try again.';
  return error.message;
}
