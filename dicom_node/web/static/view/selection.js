/** What the reader points at: one selected phrase, and one that is only looked at. */

/** @typedef {{phrase: number, region: number}} Target a phrase, and which of its regions */

export class Selection extends EventTarget {
  /** @type {Target | null} */
  selected = null;
  /** @type {Target | null} */
  hovered = null;

  /** What lights up: the phrase that is looked at, or else the selected one. */
  get active() {
    return this.hovered ?? this.selected;
  }

  /**
   * @param {number | null} phrase
   * @param {{region?: number, from?: string}} [options] from: the part of the page
   *     that asks, which then does not scroll itself
   */
  select(phrase, { region = 0, from = '' } = {}) {
    this.selected = phrase === null ? null : { phrase, region };
    this.hovered = null;
    this.#tell('select', from);
  }

  /**
   * @param {number | null} phrase
   * @param {{region?: number, from?: string}} [options]
   */
  hover(phrase, { region = 0, from = '' } = {}) {
    if (phrase === null ? !this.hovered : isSame(this.hovered, phrase, region)) return;
    this.hovered = phrase === null ? null : { phrase, region };
    this.#tell('hover', from);
  }

  /**
   * @param {string} kind
   * @param {string} from
   */
  #tell(kind, from) {
    this.dispatchEvent(new CustomEvent('change', { detail: { kind, from } }));
  }
}

/**
 * @param {Target | null} target
 * @param {number} phrase
 * @param {number} region
 */
function isSame(target, phrase, region) {
  return target !== null && target.phrase === phrase && target.region === region;
}
