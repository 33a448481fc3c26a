// Use our own page as a person does and say what is on the screen. The task comes as
// JSON on standard input, the answer goes as JSON to standard output, pictures go to
// the task's folder.
//
// task: {url, password, folder, study, prior, long: study UID or null, rule_file,
//        inside: {phrase text: {frame, column, row}}, outside: {column, row},
//        stroke: [{column, row}, {column, row}]}
import fs from 'node:fs';
import {
  capture, colours, complaints, expected, judge, launch, openContext, openStudy, picture,
  pointOf, signIn, task, waitForMasks,
} from './page-tools.mjs';

const browser = await launch();
try {
  const answer = {};
  const context = await openContext(browser);
  const page = await context.newPage();
  answer.sign_in = await door(page);
  answer.list = await list(page, context);
  answer.view = await view(page);
  answer.details = await details(page);
  answer.operations = await operations(page);
  answer.redraw = await redraw(page);
  answer.light = await lightTheme();
  if (task.long) answer.long = await longStudy(page);
  process.stdout.write(JSON.stringify({ ...answer, complaints }));
} finally {
  await browser.close();
}

// A stranger is sent to the door, refused with a wrong password, let in with the right.
async function door(page) {
  await page.goto(`${task.url}/view/${task.study}`);
  await page.waitForURL(/\/sign-in/);
  await page.waitForSelector('#form:not([hidden])');
  const axe = await judge(page);
  await page.screenshot({ path: picture('sign-in') });
  expected.add(401);
  await page.fill('#name', 'ada');
  await page.fill('#password', 'a wrong password');
  await page.click('button[type=submit]');
  await page.waitForSelector('#refusal:not([hidden])');
  const refusal = await page.textContent('#refusal');
  expected.delete(401);
  await page.fill('#password', task.password);
  await page.click('button[type=submit]');
  await page.waitForURL(`${task.url}/view/${task.study}`);
  return { refusal, axe, arrived: page.url() };
}

async function list(page, context) {
  await page.goto(`${task.url}/`);
  await page.waitForSelector('#rows tr');
  await page.waitForSelector('.live.is-live');
  const rows = () =>
    page.$$eval('#rows tr', all => all.map(one => ({ study: one.dataset.study, text: one.innerText })));
  const seen = { rows: await rows(), axe: await judge(page), colours: await colours(page) };
  await page.screenshot({ path: picture('list') });

  await page.fill('#search', 'ACC-7-none');
  await page.waitForSelector('#empty:not([hidden])');
  seen.nothing = await page.textContent('#empty');
  await page.fill('#search', 'Page');
  await page.waitForSelector('#rows tr');
  seen.found = await rows();
  await page.fill('#search', '');
  await page.click('#states [data-state=done]');
  await page.waitForURL(/state=done/);
  seen.done = await rows();
  await page.click('#states [data-state=""]');

  // Live: somebody else pauses the node and asks for a study again.
  const other = await context.newPage();
  await other.goto(`${task.url}/operations`);
  await other.click('#pause');
  await other.waitForSelector('#pause[aria-pressed=true]');
  await other.evaluate(
    uid => fetch(`/studies/${uid}/requeue`, { method: 'POST', headers: { 'X-Requested-With': 'dicom-node' } }),
    task.prior,
  );
  const row = `#rows tr[data-study="${task.prior}"]`;
  await page.waitForSelector(`${row} .state.is-ready`);
  seen.waiting = await page.innerText(row);
  await page.waitForSelector('#banner:not([hidden])');
  seen.banner = await page.innerText('#banner');
  await page.screenshot({ path: picture('list-paused') });
  await other.click('#pause');
  await other.waitForSelector('#pause[aria-pressed=false]');
  await page.waitForSelector(`${row} .state.is-done`);
  seen.resumed = await page.innerText(row);
  await other.close();

  await page.locator('body').click({ position: { x: 4, y: 300 } });
  await page.keyboard.press('j');
  await page.keyboard.press('j');
  await page.keyboard.press('k');
  seen.focused = await page.evaluate(() => document.activeElement.closest('tr')?.dataset.study);
  await page.keyboard.press('Enter');
  await page.waitForURL(/\/view\//);
  seen.opened = page.url();
  return seen;
}

async function view(page) {
  await openStudy(page, task.study);
  const detail = await page.evaluate(uid => fetch(`/studies/${uid}`).then(one => one.json()), task.study);
  const regions = detail.phrases.flatMap(one => one.regions);
  await waitForMasks(page, regions.length);
  const seen = { detail, axe: await judge(page), colours: await colours(page) };
  await page.screenshot({ path: picture('view') });
  seen.text = await page.$eval('.report-text', one => one.textContent);
  seen.spans = await page.$$eval('.report-text .phrase', all =>
    all.map(one => ({ phrase: Number(one.dataset.phrase), text: one.textContent, kind: one.className, label: one.getAttribute('aria-label') })));
  seen.warning = await page.isVisible('#warning') && (await page.textContent('#warning'));
  seen.options = await page.$$eval('.finding', all => all.map(one => one.innerText));
  seen.tabs = await page.$$eval('.tab', all => all.map(one => one.innerText));
  seen.sides = await page.$$eval('.side', all => all.map(one => one.textContent));
  seen.hover = await hover(page, detail);
  seen.absent = await absent(page, detail);
  seen.click = await click(page, detail);
  seen.scroll = await scroll(page);
  seen.window = await windowing(page);
  seen.zoom = await zooming(page);
  seen.keys = await listKeys(page);
  seen.focus = await focusing(page, detail);
  seen.boxes = await boxes(page, detail);
  seen.cine = await cine(page);
  return seen;
}

// Point at each located phrase: its region must light up on its best frame.
async function hover(page, detail) {
  const found = [];
  for (const phrase of detail.phrases.filter(one => one.regions.length && one.span)) {
    await page.mouse.move(5, 400);
    await page.locator('#stack').focus();
    await page.keyboard.press('Home');
    await page.locator(`.report-text .phrase[data-phrase="${phrase.index}"]`).first().hover();
    const [region] = phrase.regions;
    await page.waitForFunction(
      ([frame, series]) => {
        const { dataset } = document.getElementById('stack');
        return dataset.frame === String(frame) && dataset.series === String(series);
      },
      [region.best_frame, region.series],
    );
    const lit = await capture(page, `hover-${phrase.index}`);
    if (!found.length) await page.screenshot({ path: picture('hover') });
    const said = await page.textContent('#announcement');
    await page.mouse.move(5, 400);
    await page.keyboard.press('o');
    const plain = await capture(page, `plain-${phrase.index}`);
    await page.keyboard.press('o');
    found.push({ phrase: phrase.index, text: phrase.text, colour: region.colour, lit, plain, said });
  }
  return found;
}

async function absent(page, detail) {
  const phrase = detail.phrases.find(one => one.status === 'absent' && one.span);
  await page.mouse.move(5, 400);
  const before = await capture(page, 'absent-before');
  await page.locator(`.report-text .phrase[data-phrase="${phrase.index}"]`).first().hover();
  const after = await capture(page, 'absent-after');
  const said = await page.textContent('#announcement');
  const isStruck = await page.$eval(`.report-text .phrase[data-phrase="${phrase.index}"] s`, one =>
    getComputedStyle(one).textDecorationLine === 'line-through');
  await page.mouse.move(5, 400);
  return { before, after, said, isStruck, fate: await page.innerText(`#phrase-${phrase.index} .finding-fate`) };
}

// Click in each region on its slice: its phrase must be marked and in sight.
async function click(page, detail) {
  const found = [];
  for (const [text, place] of Object.entries(task.inside)) {
    const phrase = detail.phrases.find(one => one.text === text);
    await page.keyboard.press('Escape');
    await page.locator('#stack').focus();
    await page.keyboard.press('Home');
    for (let frame = 0; frame < place.frame; frame += 1) await page.keyboard.press('ArrowDown');
    await page.waitForFunction(frame => document.getElementById('stack').dataset.frame === String(frame), place.frame);
    const at = await pointOf(page, place);
    await page.mouse.click(at.x, at.y);
    await page.waitForSelector(`#phrase-${phrase.index}[aria-selected=true]`);
    await page.waitForTimeout(500); // it may scroll smoothly
    found.push({
      text,
      frame: await page.$eval('#stack', one => Number(one.dataset.frame)),
      selected: await page.$$eval('.finding[aria-selected=true]', all => all.map(one => one.querySelector('.finding-text').innerText)),
      pressed: await page.$$eval('.report-text [aria-pressed=true]', all => all.map(one => one.textContent)),
      isInSight: await page.$eval(`#phrase-${phrase.index}`, one => {
        const { top, bottom } = one.getBoundingClientRect();
        return top >= 0 && bottom <= window.innerHeight;
      }),
    });
  }
  await page.screenshot({ path: picture('selected') });
  const away = await pointOf(page, task.outside);
  await page.mouse.click(away.x, away.y);
  return { found, afterOutside: await page.locator('.finding[aria-selected=true]').count() };
}

async function scroll(page) {
  const frame = () => page.$eval('#stack', one => Number(one.dataset.frame));
  const reach = async wanted => {
    await page.waitForFunction(one => document.getElementById('stack').dataset.frame === String(one), wanted);
    return frame();
  };
  await page.locator('#stack').focus();
  await page.keyboard.press('Home');
  const seen = [await reach(0)];
  const last = Number(await page.getAttribute('#stack', 'aria-valuemax')) - 1;
  await page.keyboard.press('End');
  seen.push(await reach(last));
  await page.keyboard.press('ArrowUp');
  seen.push(await reach(last - 1));
  await page.keyboard.press('PageUp');
  await page.waitForTimeout(200);
  seen.push(await frame());
  const at = await pointOf(page, { column: 30, row: 30 });
  await page.mouse.move(at.x, at.y);
  const before = await frame();
  await page.mouse.wheel(0, 120);
  await page.waitForTimeout(200);
  seen.push((await frame()) - before);
  return { seen, last, valuetext: await page.getAttribute('#stack', 'aria-valuetext') };
}

async function windowing(page) {
  await page.locator('#stack').focus();
  await page.keyboard.press('r');
  const before = await capture(page, 'window-before');
  const words = await page.textContent('#corner-window');
  const at = await pointOf(page, { column: 20, row: 20 });
  await page.mouse.move(at.x, at.y);
  await page.mouse.down();
  await page.mouse.move(at.x + 60, at.y + 40, { steps: 4 });
  await page.mouse.up();
  const after = await capture(page, 'window-after');
  const dragged = await page.textContent('#corner-window');
  await page.keyboard.press('i');
  const inverted = await capture(page, 'window-inverted');
  await page.keyboard.press('r');
  const reset = await capture(page, 'window-reset');
  return { before, after, inverted, reset, words, dragged, presets: await page.$$eval('#presets option', all => all.map(one => one.textContent)) };
}

async function zooming(page) {
  const view = () => page.$eval('#stack', one => one.dataset.view.split(' ').map(Number));
  const settle = () => page.waitForTimeout(120);
  const plain = await view();
  await page.keyboard.press('+');
  await settle();
  const zoomed = await view();
  const at = await pointOf(page, { column: 40, row: 40 });
  await page.mouse.move(at.x, at.y);
  await page.keyboard.down('Control');
  await page.mouse.wheel(0, -200);
  await page.keyboard.up('Control');
  await settle();
  const wheeled = await view();
  await page.mouse.down({ button: 'middle' });
  await page.mouse.move(at.x + 25, at.y - 15);
  await page.mouse.up({ button: 'middle' });
  await settle();
  const panned = await view();
  await page.keyboard.press('r');
  await settle();
  return { plain, zoomed, wheeled, panned, reset: await view() };
}

// Walk through the phrases by keyboard alone.
async function listKeys(page) {
  await page.locator('#findings').focus();
  await page.keyboard.press('Home');
  await page.keyboard.press('ArrowDown');
  await page.waitForTimeout(200);
  return {
    active: await page.getAttribute('#findings', 'aria-activedescendant'),
    selected: await page.$$eval('.finding[aria-selected=true]', all => all.map(one => one.id)),
    said: await page.textContent('#announcement'),
    frame: await page.$eval('#stack', one => Number(one.dataset.frame)),
  };
}

// Reach a phrase of the text by keyboard: it lights up as if it were pointed at.
async function focusing(page, detail) {
  await page.keyboard.press('Escape');
  await page.locator('#report-panel').focus();
  await page.keyboard.press('Tab');
  await page.waitForTimeout(200);
  const seen = await page.evaluate(() => ({
    text: document.activeElement.textContent,
    frame: Number(document.getElementById('stack').dataset.frame),
    outline: getComputedStyle(document.activeElement).outlineStyle,
  }));
  await page.keyboard.press('Enter');
  return { ...seen, pressed: await page.getAttribute('.report-text .phrase', 'aria-pressed'), best: detail.phrases[0].regions[0].best_frame };
}

async function boxes(page, detail) {
  await page.keyboard.press('Escape');
  await page.locator('#stack').focus();
  await page.keyboard.press('o');
  const before = await capture(page, 'boxes-before');
  await page.keyboard.press('b');
  const after = await capture(page, 'boxes-after');
  await page.keyboard.press('b');
  await page.keyboard.press('o');
  const here = detail.phrases.flatMap(one => one.regions)
    .filter(one => one.series === after.series)
    .flatMap(one => one.boxes.filter(box => box.frame === after.frame));
  return { before, after, xyxy: here.map(one => one.xyxy) };
}

async function cine(page) {
  const frame = () => page.$eval('#stack', one => Number(one.dataset.frame));
  const before = await frame();
  await page.keyboard.press('c');
  await page.waitForFunction(first => Number(document.getElementById('stack').dataset.frame) !== first, before);
  await page.keyboard.press('c');
  await page.waitForTimeout(200);
  const stopped = await frame();
  await page.waitForTimeout(300);
  return { before, stopped, later: await frame() };
}

async function details(page) {
  await page.click('#more summary');
  await page.waitForSelector('#spans svg');
  const seen = {
    spans: await page.$$eval('.spans tbody tr', all => all.map(one => [...one.cells].map(cell => cell.innerText))),
    bars: await page.$$eval('.span-bar', all => all.map(one => [one.textContent, one.getBoundingClientRect().width])),
    text: await page.innerText('#details'),
    axe: await judge(page),
    links: await page.$$eval('.downloads a', all => all.map(one => one.getAttribute('href'))),
  };
  await page.locator('#details').scrollIntoViewIfNeeded();
  await page.screenshot({ path: picture('details') });
  seen.downloads = [];
  for (const link of seen.links) {
    seen.downloads.push(await page.evaluate(path => fetch(path).then(async one => [one.status, (await one.arrayBuffer()).byteLength]), link));
  }
  await page.keyboard.press('?');
  await page.waitForSelector('#help[open]');
  await page.screenshot({ path: picture('help') });
  await page.keyboard.press('Escape');
  return seen;
}

async function operations(page) {
  await page.goto(`${task.url}/operations`);
  await page.waitForSelector('#queue .numbers');
  const seen = { text: await page.innerText('#cards'), axe: await judge(page) };
  const bytes = [...fs.readFileSync(task.rule_file)];
  const transfer = await page.evaluateHandle(content => {
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(content)], 'image.dcm', { type: 'application/dicom' }));
    return data;
  }, bytes);
  await page.dispatchEvent('#drop', 'dragover', { dataTransfer: transfer });
  seen.isOver = await page.$eval('#drop', one => one.classList.contains('is-over'));
  await page.dispatchEvent('#drop', 'drop', { dataTransfer: transfer });
  await page.waitForSelector('#rule-name');
  seen.rule = await page.textContent('#rule-name');
  seen.trace = await page.$$eval('.trace li', all => all.map(one => [one.className, one.querySelector('strong').textContent]));
  seen.tags = await page.innerText('.tags');
  seen.axe.push(...(await judge(page)));
  await page.screenshot({ path: picture('operations'), fullPage: true });
  const junk = await page.evaluateHandle(() => {
    const data = new DataTransfer();
    data.items.add(new File([new Uint8Array(64)], 'notes.txt'));
    return data;
  });
  for (const status of [400, 415, 422]) expected.add(status);
  await page.dispatchEvent('#drop', 'drop', { dataTransfer: junk });
  await page.waitForSelector('#rule-result .trouble');
  seen.junk = await page.innerText('#rule-result');
  expected.clear();
  return seen;
}

// Redraw a region with brush and eraser, save it, and accept another.
async function redraw(page) {
  const context = await openContext(browser);
  const mine = await context.newPage();
  await signIn(mine, 'eve');
  await openStudy(mine, task.study);
  const [text, place] = Object.entries(task.inside)[0];
  await mine.locator('.finding', { hasText: text }).first().click();
  await mine.click('#redraw');
  await mine.waitForSelector('#save');
  await mine.fill('#brush-size', '9');
  const from = await pointOf(mine, task.stroke[0]);
  const to = await pointOf(mine, task.stroke[1]);
  const frame = await mine.$eval('#stack', one => Number(one.dataset.frame));
  const stroke = async () => {
    await mine.mouse.move(from.x, from.y);
    await mine.mouse.down();
    await mine.mouse.move(to.x, to.y);
    await mine.mouse.up();
  };
  await stroke();
  const painted = await capture(mine, 'painted');
  await mine.screenshot({ path: picture('redraw') });
  // A stroke of the eraser that is taken back must leave no trace.
  await mine.click('#tool-eraser');
  await stroke();
  const erased = await capture(mine, 'erased');
  await mine.locator('#stack').focus();
  await mine.keyboard.press('Control+z');
  const undone = await capture(mine, 'undone');
  await mine.fill('#comment', 'the upper pole is part of it');
  const [request] = await Promise.all([
    mine.waitForRequest(one => one.method() === 'POST' && one.url().endsWith('/corrections')),
    mine.click('#save'),
  ]);
  await mine.waitForSelector('.verdict.is-redraw');
  const verdict = await mine.textContent('.verdict');
  await mine.waitForTimeout(400);
  const shown = await capture(mine, 'redrawn');
  await mine.screenshot({ path: picture('redrawn') });
  const axe = await judge(mine);

  const other = Object.keys(task.inside)[1];
  await mine.locator('.finding', { hasText: other }).first().click();
  await mine.click('#accept');
  await mine.waitForSelector('.verdict.is-accept');
  const accepted = await mine.textContent('.verdict');

  // Who made every correction may take responsibility, and must say so first.
  await mine.click('#more summary');
  await mine.waitForSelector('#verify');
  const barred = await mine.isDisabled('#verify');
  await mine.check('#responsible');
  const [saved] = await Promise.all([mine.waitForEvent('download'), mine.click('#verify')]);
  const verified = fs.readFileSync(await saved.path()).toString('base64');
  await mine.screenshot({ path: picture('verified') });
  const verifyAxe = await judge(mine);
  const files = await mine.$$eval('.downloads a[href*="/corrections/"]', all => all.map(one => one.getAttribute('href')));

  // Who may only look is offered nothing to change.
  const looking = await openContext(browser);
  const theirs = await looking.newPage();
  await signIn(theirs, 'vic');
  // Frames are slow, and so is the way out: nothing may be asked between the two.
  await slow(theirs, '**/frames/**', 300);
  await openStudy(theirs, task.study);
  await theirs.locator('.finding', { hasText: text }).first().click();
  await theirs.waitForSelector('.verdict.is-redraw');
  const offered = await theirs.locator('#accept, #reject, #redraw, #requeue, #verify').count();
  await slow(theirs, '**/sign-in', 1000);
  await theirs.getByRole('button', { name: 'Sign out' }).click();
  await theirs.waitForURL(/\/sign-in/);
  await theirs.goto(`${task.url}/`);
  await theirs.waitForURL(/\/sign-in/);
  const left = theirs.url();
  const gone = await signOutAndGoBack();
  await looking.close();
  await context.close();
  return {
    text, place, from, to, frame, painted, erased, undone, shown, verdict, accepted, axe: [...axe, ...verifyAxe], offered,
    barred, verified, files,
    address: new URL(request.url()).pathname, body: request.postDataJSON(), left,
    gone,
  };
}

/** In a browser that keeps pages as they were left: playwright turns that off. */
async function signOutAndGoBack() {
  const keeping = await launch({ ignoreDefaultArgs: ['--disable-back-forward-cache'] });
  try {
    const context = await openContext(keeping);
    const page = await context.newPage();
    await signIn(page, 'vic');
    await openStudy(page, task.study);
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.waitForURL(/\/sign-in/);
    await page.evaluate(() => window.history.back());
    await page.waitForURL(/\/sign-in\?next=/, { timeout: 5000 }).catch(() => {}); // the test tells
    return { address: page.url(), shown: await page.locator('body').innerText() };
  } finally {
    await keeping.close();
  }
}

function slow(page, address, ms) {
  return page.route(address, async route => {
    await new Promise(resolve => setTimeout(resolve, ms));
    await route.continue().catch(() => {}); // the page asks no longer
  });
}

async function lightTheme() {
  const context = await openContext(browser, { colorScheme: 'light', viewport: { width: 1024, height: 768 } });
  const page = await context.newPage();
  await signIn(page, 'ada');
  const seen = { axe: [], overflow: {} };
  for (const [name, address] of Object.entries({ list: '/', view: `/view/${task.study}`, operations: '/operations' })) {
    await page.goto(task.url + address);
    await page.waitForSelector({ list: '#rows tr', view: '.finding', operations: '#queue .numbers' }[name]);
    await page.waitForTimeout(500);
    await page.screenshot({ path: picture(`light-${name}`) });
    seen.axe.push(...(await judge(page)));
    seen.overflow[name] = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    if (name === 'view') seen.colours = await colours(page);
  }
  await page.goto(task.url);
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await page.waitForSelector('#theme-switch');
  const before = await ground();
  await page.click('#theme-switch');
  const after = await ground();
  await page.reload();
  await page.waitForSelector('#theme-switch');
  seen.themes = [before, after, await ground()];
  await context.close();
  return seen;
}

// How long after the first paint the first image is there; printed, never judged.
async function longStudy(page) {
  await openStudy(page, task.long);
  return page.evaluate(() => {
    const paint = performance.getEntriesByName('first-contentful-paint')[0].startTime;
    const image = performance.getEntriesByName('first-image')[0].startTime;
    return { paint_ms: paint, image_ms: image, slices: document.getElementById('stack').getAttribute('aria-valuemax') };
  });
}
