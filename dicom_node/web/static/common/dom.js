/** Makes elements and speaks to assistive technology. */

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * Characters that nobody sees and that change what others mean: controls but for tab
 * and line ends, and those that turn the direction of a text (UAX #9) or have no width.
 */
const UNSEEN = /[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b\u202a-\u202e\u2060\u2066-\u2069\ufeff]/g;

const SVG = 'http://www.w3.org/2000/svg';
const SYMBOLS = new URL('../icons.svg', import.meta.url).pathname; // beside this very version

/**
 * Make an element.
 *
 * Keys that start with "on" are listeners; "dataset" and "variables" (CSS custom
 * properties) are objects; true and false set and leave out an attribute. Text is
 * always text: nothing that a report or a peer says becomes markup.
 *
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...(Child | Child[])} children
 * @returns {HTMLElement}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'dataset') Object.assign(element.dataset, value);
    else if (name === 'variables') setVariables(element, value);
    else if (name === 'value') Object.assign(element, { value });
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value != null) element.setAttribute(name, visible(String(value)));
  }
  element.append(...present(children));
  return element;
}

/**
 * Set custom properties; the content security policy forbids style attributes.
 *
 * @param {HTMLElement} element
 * @param {Record<string, string | number>} variables
 */
export function setVariables(element, variables) {
  for (const [name, value] of Object.entries(variables)) {
    element.style.setProperty(name, String(value));
  }
}

/**
 * Show what nobody would see: a picture of each control character, U+FFFD for the rest.
 * As many characters come out as went in.
 *
 * @param {string} text
 * @returns {string}
 */
export function visible(text) {
  return text.replace(UNSEEN, one => {
    const code = one.charCodeAt(0);
    if (code < 0x20) return String.fromCharCode(0x2400 + code);
    return code === 0x7f ? '\u2421' : '\ufffd';
  });
}

/**
 * Replace what an element holds.
 *
 * @param {Element} element
 * @param {...(Child | Child[])} children
 */
export function fill(element, ...children) {
  element.replaceChildren(...present(children));
}

/**
 * @param {string} id
 * @returns {any}
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element;
}

/**
 * Draw a small line picture from the sheet of symbols.
 *
 * @param {string} name
 * @returns {SVGElement}
 */
export function icon(name) {
  const picture = document.createElementNS(SVG, 'svg');
  picture.setAttribute('class', 'icon');
  picture.setAttribute('aria-hidden', 'true');
  const use = document.createElementNS(SVG, 'use');
  use.setAttribute('href', `${SYMBOLS}#${name}`);
  picture.append(use);
  return picture;
}

/**
 * Say something through the page's polite live region.
 *
 * @param {string} text
 */
export function announce(text) {
  byId('announcement').textContent = visible(text);
}

/**
 * Show a message for some seconds at the bottom of the page.
 *
 * @param {string} text
 * @param {'good' | 'bad'} [tone]
 */
export function toast(text, tone = 'good') {
  const note = h('div', { class: `toast ${tone}`, role: tone === 'bad' ? 'alert' : 'status' }, text);
  byId('toasts').append(note);
  setTimeout(() => note.remove(), tone === 'bad' ? 9000 : 4500);
}

/**
 * @param {(Child | Child[])[]} children
 * @returns {(Node | string)[]}
 */
function present(children) {
  return children.flat().flatMap(child => {
    if (child === null || child === undefined || child === false || child === '') return [];
    return [child instanceof Node ? child : visible(String(child))];
  });
}
