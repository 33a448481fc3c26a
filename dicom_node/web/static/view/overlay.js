/** Decides what is drawn over a frame, and which region lies under a point. */

import { isSame } from './series.js';

/** @typedef {import('./types.js').Detail} Detail */
/** @typedef {import('./types.js').Region} Region */
/** @typedef {import('./types.js').Series} Series */
/** @typedef {import('./stack.js').Layer} Layer */

/** @typedef {{phrase: number, index: number, region: Region}} Place a region of a phrase */

export class Overlay {
  /** @type {Place[]} */
  #places = [];
  showMasks = true;
  showBoxes = false;
  opacity = 0.4;
  /** @type {import('./edit.js').Edit | null} */
  edit = null;

  /**
   * @param {import('./masks.js').MaskStore} masks
   * @param {import('./selection.js').Selection} selection
   */
  constructor(masks, selection) {
    this.masks = masks;
    this.selection = selection;
    /** @type {Map<string, import('./masks.js').RegionMask>} by tracking UID */
    this.redrawn = new Map();
  }

  /** @param {Detail} detail */
  setDetail(detail) {
    this.#places = placesOf(detail);
  }

  get places() {
    return this.#places;
  }

  /**
   * Return the drawing, if it is on this series: strokes on another are not its own.
   *
   * @param {Series | null} series
   */
  drawingOn(series) {
    return isSame(this.edit?.series, series) ? this.edit : null;
  }

  /**
   * @param {Series} series
   * @param {number} frame
   * @returns {Layer[]} the active ones last
   */
  layersOf(series, frame) {
    const drawing = this.drawingOn(series);
    if (drawing) return drawing.layersOf(frame);
    const active = this.selection.active;
    /** @type {Layer[]} */
    const layers = [];
    const isActive = (/** @type {Place} */ place) => active?.phrase === place.phrase;
    const here = this.#places.filter(({ region }) => region.series === series.index);
    for (const place of here.filter(one => !isActive(one)).concat(here.filter(isActive))) {
      const weight = active === null ? 'plain' : isActive(place) ? 'lit' : 'dim';
      if (this.showMasks || weight === 'lit') layers.push(...this.#maskLayers(place.region, frame, weight));
      if (this.showBoxes) layers.push(...boxLayers(place.region, frame, weight));
    }
    return layers;
  }

  /**
   * Find the region under a point: the smallest, where several overlap.
   *
   * @param {Series} series
   * @param {number} frame
   * @param {number} column
   * @param {number} row
   * @returns {Place | null}
   */
  placeAt(series, frame, column, row) {
    let found = null;
    let least = Infinity;
    for (const place of this.#places) {
      if (place.region.series !== series.index) continue;
      const masks = [this.masks.peek(place.region.tracking_uid), this.redrawn.get(place.region.tracking_uid)];
      for (const mask of masks.map(one => one?.get(frame))) {
        if (mask && mask.area < least && mask.has(column, row)) {
          found = place;
          least = mask.area;
        }
      }
    }
    return found;
  }

  /**
   * The machine's mask, and over it a person's: then the machine's is an outline.
   *
   * @param {Region} region
   * @param {number} frame
   * @param {'plain' | 'lit' | 'dim'} weight
   * @returns {Layer[]}
   */
  #maskLayers(region, frame, weight) {
    const machine = this.masks.peek(region.tracking_uid)?.get(frame);
    const person = this.redrawn.get(region.tracking_uid);
    const style = {
      plain: { fill: this.opacity * 0.55, line: 0.9, width: 1.25 },
      lit: { fill: this.opacity, line: 1, width: 2.25 },
      dim: { fill: 0, line: 0.4, width: 1 },
    }[weight];
    const isSetAside = Boolean(person) || region.correction?.action === 'reject';
    const layers = [];
    const drawn = person?.get(frame);
    if (drawn) layers.push({ path: drawn.path, colour: region.colour, ...style });
    if (machine && !isSetAside) layers.push({ path: machine.path, colour: region.colour, ...style });
    if (machine && isSetAside && weight !== 'dim') {
      const colour = person ? '#ffffff' : region.colour;
      layers.push({ path: machine.path, colour, fill: 0, line: 0.8, width: 1.25, isDashed: true });
    }
    return layers;
  }
}

/**
 * @param {Detail} detail
 * @returns {Place[]}
 */
function placesOf(detail) {
  return detail.phrases.flatMap(phrase =>
    phrase.regions.map((region, index) => ({ phrase: phrase.index, index, region })),
  );
}

/**
 * @param {Region} region
 * @param {number} frame
 * @param {'plain' | 'lit' | 'dim'} weight
 * @returns {Layer[]}
 */
function boxLayers(region, frame, weight) {
  return region.boxes
    .filter(box => box.frame === frame)
    .map(({ xyxy: [left, top, right, bottom] }) => {
      const path = new Path2D();
      path.rect(left, top, right - left, bottom - top);
      const line = { plain: 0.8, lit: 1, dim: 0.35 }[weight];
      return { path, colour: region.colour, fill: 0, line, width: 1.25, isDashed: true };
    });
}
