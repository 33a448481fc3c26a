// Open studies in OHIF, one after the other, load a SEG and an SR of each by double click
// as a person does, and say what is on the screen. The tasks come as JSON on standard
// input, the answers go as JSON to standard output, pictures go to the tasks' folders.
//
// task: {url, study, folder, seg: series description or null, sr: the same,
//        slices: [{sop_instance_uid, frame: its number or absent,
//                  points_lps: [[x, y, z], ...] or
//                  points_image: [[column, row], ...], (0, 0) the first pixel's centre}]}
// answer: {slices: [{plain, overlaid, points_canvas}], segments: [{number, label}],
//          segmentation_panel, measurement_panel, complaints}
import fs from 'node:fs';
import path from 'node:path';
import { chromium } from 'playwright-core';

const tasks = JSON.parse(fs.readFileSync(0, 'utf8'));
const thumbnail = '[data-cy^="study-browser-thumbnail"]';

const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: [
    '--no-sandbox', // root's Chromium has none
    '--use-gl=angle',
    '--use-angle=swiftshader', // WebGL without a graphics card
    '--enable-unsafe-swiftshader',
    '--ignore-gpu-blocklist',
    '--disable-dev-shm-usage',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--no-first-run',
  ],
});
try {
  const answers = [];
  for (const task of tasks) {
    const complaints = [];
    const page = await browser.newPage({ viewport: { width: 1280, height: 960 } });
    try {
      await openStudy(page, task, complaints);
      answers.push({ ...(await inspect(page, task)), complaints });
    } catch (error) {
      await page.screenshot({ path: path.join(task.folder, 'failed.png') });
      console.error(task.folder, complaints);
      throw error;
    }
    await page.close();
  }
  process.stdout.write(JSON.stringify(answers));
} finally {
  await browser.close();
}

async function openStudy(page, task, complaints) {
  page.setDefaultTimeout(60_000);
  // The first visit's tour would lie over the page.
  await page.addInitScript(() =>
    localStorage.setItem('shownTours', JSON.stringify(['basicViewerTour'])),
  );
  page.on('pageerror', error => complaints.push(`page: ${error}`.slice(0, 400)));
  page.on('console', message => {
    if (message.type() === 'error') complaints.push(`console: ${message.text()}`.slice(0, 400));
  });
  page.on('response', response => {
    if (response.status() >= 400) complaints.push(`${response.status()} ${response.url()}`);
  });
  await page.goto(`${task.url}/viewer?StudyInstanceUIDs=${task.study}`, {
    waitUntil: 'domcontentloaded',
  });
  await page.waitForSelector('canvas.cornerstone-canvas');
  await page.waitForFunction(
    () => window.cornerstone.getEnabledElements()[0]?.viewport.getCurrentImageId?.(),
  );
  await settle(page);
}

async function inspect(page, task) {
  const slices = [];
  for (const [index, slice] of task.slices.entries()) {
    slices.push({ plain: await capture(page, task, slice, `slice-${index}-plain.png`) });
  }
  let segments = [];
  let segmentationPanel = '';
  if (task.seg) {
    await load(page, task.seg);
    await page.waitForFunction(
      () => window.cornerstoneTools.segmentation.state.getSegmentations().length,
    );
    for (const [index, slice] of task.slices.entries()) {
      slices[index].overlaid = await capture(page, task, slice, `slice-${index}-overlaid.png`);
      slices[index].points_canvas = await page.evaluate(({ points_lps, points_image }) => {
        const { viewport } = window.cornerstone.getEnabledElements()[0];
        const { imageToWorldCoords } = window.cornerstone.utilities;
        const id = viewport.getCurrentImageId();
        const points = points_lps ?? points_image.map(point => imageToWorldCoords(id, point));
        return points.map(point => Array.from(viewport.worldToCanvas(point)));
      }, slice);
      await page.screenshot({ path: path.join(task.folder, `page-${index}.png`) });
    }
    segments = await page.evaluate(() =>
      window.cornerstoneTools.segmentation.state
        .getSegmentations()
        .flatMap(one => Object.values(one.segments))
        .map(one => ({ number: one.segmentIndex, label: one.label })),
    );
    segmentationPanel = await readPanel(page, task, 'panelSegmentation');
  }
  let measurementPanel = '';
  if (task.sr) {
    await load(page, task.sr);
    measurementPanel = await readPanel(page, task, 'trackedMeasurements');
  }
  return {
    slices,
    segments,
    segmentation_panel: segmentationPanel,
    measurement_panel: measurementPanel,
  };
}

// Show one image of the first viewport and keep the pixels of its canvas.
async function capture(page, task, slice, name) {
  await page.evaluate(async ({ sop_instance_uid, frame }) => {
    const { viewport } = window.cornerstone.getEnabledElements()[0];
    const wanted = `/instances/${sop_instance_uid}/frames/${frame ?? 1}`;
    const index = viewport.getImageIds().findIndex(id => id.endsWith(wanted));
    if (index < 0) throw new Error('the image is not in the viewport');
    await viewport.setImageIdIndex(index);
    viewport.render();
  }, slice);
  await settle(page);
  const url = await page.evaluate(() =>
    window.cornerstone.getEnabledElements()[0].viewport.canvas.toDataURL('image/png'),
  );
  const file = path.join(task.folder, name);
  fs.writeFileSync(file, Buffer.from(url.split(',')[1], 'base64'));
  return file;
}

// Load every object of a series.
async function load(page, description) {
  const objects = page.locator(thumbnail).filter({ hasText: description });
  await objects.first().waitFor();
  for (let index = 0; index < (await objects.count()); index += 1) {
    await objects.nth(index).dblclick();
    await settle(page);
  }
}

// Open one of the panels at the right and return its text.
async function readPanel(page, task, name) {
  await page.evaluate(part => {
    const { panelService } = window.services;
    const panel = panelService.getPanels('right').find(one => one.id.includes(part));
    if (!panel) {
      const ids = panelService.getPanels('right').map(one => one.id);
      throw new Error(`no panel ${part} among ${ids}`);
    }
    panelService.activatePanel(panel.id, true);
  }, name);
  await settle(page);
  await page.screenshot({ path: path.join(task.folder, `${name}.png`) });
  return page.evaluate(() => document.body.innerText);
}

// Wait until the first viewport's pixels and the page's text stay as they are.
async function settle(page) {
  let last = '';
  let same = 0;
  for (let turn = 0; turn < 600 && same < 3; turn += 1) {
    await page.waitForTimeout(200);
    const now = await page.evaluate(() => {
      const canvas = window.cornerstone?.getEnabledElements()[0]?.viewport.canvas;
      let hash = 0;
      if (canvas?.width && canvas.height) {
        const { data } = canvas
          .getContext('2d')
          .getImageData(0, 0, canvas.width, canvas.height);
        for (const pixel of new Uint32Array(data.buffer)) hash = (hash * 31 + pixel) | 0;
      }
      return `${hash} ${document.body.innerText}`;
    });
    same = now === last ? same + 1 : 0;
    last = now;
  }
  if (same < 3) throw new Error('the page does not come to rest');
}
