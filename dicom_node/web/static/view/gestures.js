/** What mouse, pen, finger and keys do on the image stack. */

/** @typedef {import('./stack.js').Stack} Stack */
/** @typedef {import('./overlay.js').Overlay} Overlay */

const CLICK_PIXELS = 4;
const WHEEL_PIXELS = 40;
const WINDOW_STEP = 1 / 400; // of the window's width, for each pixel that is dragged

/**
 * @param {Stack} stack
 * @param {Overlay} overlay
 * @param {{pick: (place: import('./overlay.js').Place | null) => void,
 *          point: (place: import('./overlay.js').Place | null) => void}} on
 */
export function listenToPointer(stack, overlay, on) {
  const { canvas } = stack;
  /** @type {{kind: string, x: number, y: number, startX: number, startY: number} | null} */
  let drag = null;
  let isSpaceDown = false;
  let wheel = 0;

  window.addEventListener('keydown', event => {
    if (event.code === 'Space') isSpaceDown = true;
  });
  window.addEventListener('keyup', event => {
    if (event.code === 'Space') isSpaceDown = false;
  });
  window.addEventListener('blur', () => {
    isSpaceDown = false;
  });

  const imagePoint = (/** @type {{offsetX: number, offsetY: number}} */ event) =>
    stack.camera.toImage(event.offsetX * stack.density, event.offsetY * stack.density);
  // A stroke counts only on the series that the drawing is of.
  const drawing = () => overlay.drawingOn(stack.series);
  const placeUnder = (/** @type {PointerEvent} */ event) => {
    if (!stack.series || stack.shown === null) return null;
    const { column, row } = imagePoint(event);
    return overlay.placeAt(stack.series, stack.shown, column, row);
  };

  canvas.addEventListener('pointerdown', event => {
    const kind = kindOf(event, isSpaceDown, Boolean(drawing()));
    if (!kind) return;
    event.preventDefault();
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    const { offsetX: x, offsetY: y } = event;
    drag = { kind, x, y, startX: x, startY: y };
    if (kind === 'paint' && stack.shown !== null) drawing()?.begin(stack.shown, imagePoint(event));
  });

  canvas.addEventListener('pointermove', event => {
    if (!drag) {
      if (drawing()) hoverBrush(event);
      else if (!overlay.edit) on.point(placeUnder(event));
      return;
    }
    const [dx, dy] = [event.offsetX - drag.x, event.offsetY - drag.y];
    if (drag.kind === 'window' && !isClick(drag, event)) {
      const { centre, width } = stack.shades;
      const step = Math.max(width * WINDOW_STEP, 0.2);
      stack.setWindow(centre + dy * step, width + dx * step * 2);
    } else if (drag.kind === 'pan') stack.pan(dx, dy);
    else if (drag.kind === 'scroll' && stack.series) {
      const rowHeight = Math.max(4, canvas.clientHeight / stack.series.frames);
      const steps = Math.trunc((event.offsetY - drag.y) / rowHeight);
      if (!steps) return;
      stack.scroll(steps);
      drag.y += steps * rowHeight;
      return;
    } else if (drag.kind === 'paint' && stack.shown !== null) {
      hoverBrush(event);
      drawing()?.stroke(stack.shown, imagePoint(event));
    }
    if (drag.kind === 'window' && isClick(drag, event)) return;
    drag.x = event.offsetX;
    drag.y = event.offsetY;
  });

  canvas.addEventListener('pointerup', event => {
    const done = drag;
    drag = null;
    overlay.edit?.end();
    if (done && !overlay.edit && done.kind !== 'pan' && isClick(done, event)) on.pick(placeUnder(event));
  });
  canvas.addEventListener('pointercancel', () => {
    drag = null;
    overlay.edit?.end();
  });
  canvas.addEventListener('pointerleave', () => {
    if (overlay.edit) overlay.edit.hover(null);
    else if (!drag) on.point(null);
  });

  canvas.addEventListener(
    'wheel',
    event => {
      event.preventDefault();
      if (event.ctrlKey) {
        const factor = Math.exp(-event.deltaY / 400);
        stack.zoom(factor, event.offsetX * stack.density, event.offsetY * stack.density);
        return;
      }
      wheel += event.deltaMode === WheelEvent.DOM_DELTA_LINE ? event.deltaY * WHEEL_PIXELS : event.deltaY;
      // A mouse's notch is one slice however far it says to go; a pad adds up to one.
      const steps = Math.abs(event.deltaY) >= WHEEL_PIXELS ? Math.sign(wheel) : Math.trunc(wheel / WHEEL_PIXELS);
      if (!steps) return;
      wheel = 0;
      stack.scroll(steps);
    },
    { passive: false },
  );

  /** @param {PointerEvent} event */
  function hoverBrush(event) {
    if (stack.shown !== null) drawing()?.hover({ frame: stack.shown, point: imagePoint(event) });
  }
}

/**
 * What the keys do while the stack has the focus.
 *
 * @param {Stack} stack
 * @param {KeyboardEvent} event
 * @returns {boolean} whether the key was one of them
 */
export function stackKey(stack, event) {
  const last = (stack.series?.frames ?? 1) - 1;
  const page = Math.max(1, Math.round(last / 10));
  /** @type {Record<string, () => void>} */
  const actions = {
    ArrowDown: () => stack.scroll(1),
    ArrowRight: () => stack.scroll(1),
    ArrowUp: () => stack.scroll(-1),
    ArrowLeft: () => stack.scroll(-1),
    PageDown: () => stack.scroll(page),
    PageUp: () => stack.scroll(-page),
    Home: () => stack.go(0),
    End: () => stack.go(last),
  };
  const action = actions[event.key];
  action?.();
  return Boolean(action);
}

/**
 * @param {PointerEvent} event
 * @param {boolean} isSpaceDown
 * @param {boolean} isEditing
 */
function kindOf(event, isSpaceDown, isEditing) {
  if (event.button === 1 || (event.button === 0 && isSpaceDown)) return 'pan';
  if (event.button !== 0) return null;
  if (isEditing) return 'paint';
  return event.pointerType === 'touch' ? 'scroll' : 'window';
}

/**
 * @param {{startX: number, startY: number}} drag
 * @param {PointerEvent} event
 */
function isClick(drag, event) {
  return Math.hypot(event.offsetX - drag.startX, event.offsetY - drag.startY) < CLICK_PIXELS;
}
