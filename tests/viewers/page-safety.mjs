// Try on our own page what could put a drawing or a picture in the wrong place, and say
// what came of it. The task comes as JSON on standard input, the answer goes as JSON to
// standard output, pictures go to the task's folder.
//
// task: {url, password, folder, study, model_fails: path of the file that makes it fail}
import fs from 'node:fs';
import {
  capture, complaints, expected, judge, launch, openContext, openStudy, picture, pointOf,
  signIn, task, waitForMasks,
} from './page-tools.mjs';

const browser = await launch();
try {
  const answer = {};
  const context = await openContext(browser);
  const page = await context.newPage();
  await signIn(page, 'eve');
  answer.zoom = await keepingZoom(page);
  answer.elsewhere = await drawingElsewhere(page);
  answer.escape = await escaping(page);
  answer.network = await failingNetwork(context);
  answer.run = await anotherRun(context, page);
  process.stdout.write(JSON.stringify({ ...answer, complaints }));
} finally {
  await browser.close();
}

function view(page) {
  return page.evaluate(() => ({ ...document.getElementById('stack').dataset }));
}

function shows(page, series) {
  return page.waitForFunction(one => document.getElementById('stack').dataset.series === String(one), series);
}

async function detailOf(page) {
  return page.evaluate(uid => fetch(`/studies/${uid}`).then(one => one.json()), task.study);
}

function ask(page, path, body) {
  return page.evaluate(
    ([address, said]) => fetch(address, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'X-Requested-With': 'dicom-node' },
      body: JSON.stringify(said),
    }).then(one => one.status),
    [path, body],
  );
}

// Somebody else says something of the last region: the page hears of it.
async function makeNews(page) {
  const detail = await detailOf(page);
  const uid = detail.phrases.flatMap(one => one.regions).at(-1).tracking_uid;
  const heard = page.waitForResponse(one => one.url() === `${task.url}/studies/${task.study}`);
  await ask(page, `/studies/${task.study}/regions/${uid}/corrections`, { action: 'accept' });
  await heard;
  await page.waitForTimeout(300);
}

async function stroke(page, column) {
  const from = await pointOf(page, { column, row: 10 });
  const to = await pointOf(page, { column: column + 10, row: 10 });
  await page.mouse.move(from.x, from.y);
  await page.mouse.down();
  await page.mouse.move(to.x, to.y, { steps: 3 });
  await page.mouse.up();
  await page.mouse.move(5, 5);
  await page.waitForTimeout(150);
}

async function startDrawing(page) {
  await page.click('.report-text .phrase[role=button]');
  await page.click('#redraw');
  await page.waitForSelector('#save');
}

// News of the study leave zoom and pan as they are.
async function keepingZoom(page) {
  await openStudy(page, task.study);
  const detail = await detailOf(page);
  await waitForMasks(page, detail.phrases.flatMap(one => one.regions).length);
  await page.locator('#stack').focus();
  for (let step = 0; step < 4; step += 1) await page.keyboard.press('+');
  await page.waitForTimeout(200);
  const before = await view(page);
  await makeNews(page);
  await page.hover('.report-text .phrase[role=button]');
  await page.waitForTimeout(300);
  const after = await view(page);
  await page.mouse.move(5, 5);
  return { before, after };
}

// A stroke on another series is no part of the drawing, and the page says so.
async function drawingElsewhere(page) {
  await startDrawing(page);
  await page.click('.thumbnail[data-series="1"]');
  await shows(page, 1);
  const note = await page.innerText('#elsewhere');
  await stroke(page, 10);
  const axe = await judge(page);
  await page.screenshot({ path: picture('elsewhere') });
  const canUndo = await page.isEnabled('#undo');
  await page.click('#back-to-drawing');
  await shows(page, 0);
  const noteAtHome = await page.innerText('#elsewhere');
  await stroke(page, 10);
  const drawn = await capture(page, 'drawn');
  const canUndoAtHome = await page.isEnabled('#undo');
  await makeNews(page);
  await page.click('.thumbnail[data-series="0"]');
  await page.mouse.move(5, 5);
  const afterNews = await capture(page, 'drawn-after-news');
  return { note, canUndo, noteAtHome, canUndoAtHome, axe, drawn, afterNews };
}

// What is drawn goes only after a question; who leaves the question keeps it.
async function escaping(page) {
  const focus = () => page.evaluate(() => document.activeElement?.id);
  await page.locator('#stack').focus();
  await page.keyboard.press('Escape');
  await page.waitForSelector('#discard[open]');
  const asked = await focus();
  const axe = await judge(page);
  await page.screenshot({ path: picture('discard') });
  await page.keyboard.press('Escape');
  await page.waitForSelector('#discard', { state: 'hidden' });
  const kept = { editors: await page.locator('#save').count(), focus: await focus(), canUndo: await page.isEnabled('#undo') };
  await page.click('#cancel');
  await page.click('#throw-away');
  await page.waitForSelector('#save', { state: 'detached' });
  const gone = { focus: await focus() };
  await page.click('#redraw');
  await page.waitForSelector('#save');
  await page.keyboard.press('Escape');
  await page.waitForSelector('#save', { state: 'detached' });
  const untouched = { isAsked: await page.isVisible('#discard') };
  return { asked, axe, kept, gone, untouched };
}

// A frame that did not come is asked for again; one that never will stops no cine.
async function failingNetwork(context) {
  const page = await context.newPage();
  await page.addInitScript(() => {
    delete window.requestIdleCallback; // as Safari
  });
  expected.add(422);
  let refused = 0;
  await page.route(/\/series\/0\/frames\/23\?/, route => {
    refused += 1;
    return refused > 2 ? route.continue() : route.abort();
  });
  await page.route(/\/series\/0\/frames\/4\?/, route => route.fulfill({ status: 422, json: { detail: 'cannot be decoded' } }));
  await openStudy(page, task.study);
  const reach = frame =>
    page.waitForFunction(one => Number(document.getElementById('stack').dataset.frame) === one, frame);
  await page.locator('#stack').focus();
  await page.keyboard.press('End');
  await reach(23);
  await page.keyboard.press('Home');
  await reach(0);
  await page.keyboard.press('c');
  await reach(6);
  await page.keyboard.press('c');
  const painted = await page.$$eval('.thumbnail canvas', all =>
    all.map(one => one.getContext('2d').getImageData(0, 0, one.width, one.height).data.some(value => value > 0)));
  await page.close();
  expected.delete(422);
  return { refused, painted };
}

// The same content is processed again and fewer series are found: what was number 1
// is number 0 now. One page looks, another draws.
async function anotherRun(context, page) {
  const first = await detailOf(page);
  const drawing = await context.newPage();
  await openStudy(drawing, task.study);
  await startDrawing(drawing);
  await stroke(drawing, 10);
  await openStudy(page, task.study);
  const before = { corner: await page.textContent('#corner-series'), series: first.series.map(one => one.description) };
  const asked = [];
  page.on('request', one => {
    if (/\/(frames|regions)\//.test(one.url())) asked.push(new URL(one.url()).searchParams.get('v'));
  });
  fs.writeFileSync(task.model_fails, '');
  const corner = one => one.waitForFunction(() => document.getElementById('corner-series')?.textContent.includes('Overview'));
  await ask(page, `/studies/${task.study}/requeue`, {});
  await corner(page);
  await page.waitForTimeout(500);
  const second = await detailOf(page);
  const sizes = await page.evaluate(
    ([uid, name]) => fetch(`/studies/${uid}/series/0/frames/2?v=${name}`).then(async one => (await one.arrayBuffer()).byteLength),
    [task.study, second.shown_results],
  );
  const after = {
    corner: await page.textContent('#corner-series'),
    series: second.series.map(one => one.description),
    not_processed: second.not_processed.map(one => one.reason),
    bytes: sizes,
    side: second.series[0].rows * second.series[0].columns * 2,
  };

  await drawing.waitForSelector('#problem:not([hidden])');
  expected.add(409);
  const [refusal] = await Promise.all([
    drawing.waitForResponse(one => one.request().method() === 'POST' && one.url().endsWith('/corrections')),
    drawing.click('#save'),
  ]);
  await drawing.waitForTimeout(300);
  const late = {
    told: await drawing.textContent('#problem'),
    status: refusal.status(),
    editors: await drawing.locator('#save').count(),
  };
  await drawing.screenshot({ path: picture('late') });
  await drawing.click('#cancel');
  await drawing.click('#throw-away');
  await corner(drawing);
  expected.delete(409);
  const said = await page.evaluate(uid => fetch(`/studies/${uid}/corrections`).then(one => one.json()), task.study);
  return {
    before, after, late, asked, name: second.shown_results, old: first.shown_results,
    redrawn: said.filter(one => one.action === 'redraw').length,
  };
}
