// What the driver of our own page needs: a browser, signing in, pictures, and axe.
import fs from 'node:fs';
import path from 'node:path';
import { chromium } from 'playwright-core';

const axe = fs.readFileSync(new URL('node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');

export const task = JSON.parse(fs.readFileSync(0, 'utf8'));
export const complaints = [];

/** Statuses that the scenario asks for: the browser writes each as a console error. */
export const expected = new Set();

export function launch(options = {}) {
  return chromium.launch({
    ...options,
    executablePath: '/usr/bin/chromium',
    args: [
      '--no-sandbox', // root's Chromium has none
      '--disable-dev-shm-usage',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--no-first-run',
    ],
  });
}

export async function openContext(browser, options = {}) {
  const context = await browser.newContext({
    viewport: { width: 1366, height: 860 },
    colorScheme: 'dark',
    ...options,
  });
  context.setDefaultTimeout(20_000);
  context.on('page', page => {
    page.on('pageerror', error => complaints.push(`page: ${error.stack ?? error}`.slice(0, 600)));
    page.on('console', message => {
      const text = message.text();
      const isExpected = [...expected].some(status => text.includes(`status of ${status}`));
      if (['error', 'warning'].includes(message.type()) && !isExpected) {
        complaints.push(`console: ${text}`.slice(0, 400));
      }
    });
    page.on('request', request => {
      if (!request.url().startsWith(`${task.url}/`)) complaints.push(`elsewhere: ${request.url()}`);
    });
    page.on('response', response => {
      if (response.status() >= 400 && !expected.has(response.status())) {
        complaints.push(`${response.status()} ${response.url()}`);
      }
    });
  });
  return context;
}

export async function signIn(page, name) {
  await page.goto(`${task.url}/sign-in`);
  await page.fill('#name', name);
  await page.fill('#password', task.password);
  await page.click('button[type=submit]');
  await page.waitForURL(`${task.url}/`);
}

export function picture(name) {
  return path.join(task.folder, `${name}.png`);
}

// Keep the pixels of the canvas, and where the image lies on it.
export async function capture(page, name) {
  await page.waitForTimeout(150);
  const { url, frame, series, view } = await page.evaluate(() => {
    const canvas = document.getElementById('stack');
    return { url: canvas.toDataURL('image/png'), ...canvas.dataset };
  });
  fs.writeFileSync(picture(name), Buffer.from(url.split(',')[1], 'base64'));
  return {
    picture: picture(name),
    frame: Number(frame),
    series: Number(series),
    view: view.split(' ').map(Number),
  };
}

export async function openStudy(page, uid) {
  await page.goto(`${task.url}/view/${uid}`);
  await page.waitForFunction(() => document.getElementById('stack').dataset.frame !== undefined);
}

// Wait until the masks of every region are here: a hit or an outline needs them.
export function waitForMasks(page, count) {
  return page.waitForFunction(
    wanted =>
      performance.getEntriesByType('resource').filter(one => /\/regions\/[^/]+$/.test(one.name) && one.responseEnd > 0)
        .length >= wanted,
    count,
  );
}

// Where an image pixel's centre is in the window; whole numbers, as a mouse has.
export async function pointOf(page, { column, row }) {
  return page.evaluate(
    ([x, y]) => {
      const canvas = document.getElementById('stack');
      const [a, d, e, f] = canvas.dataset.view.split(' ').map(Number);
      const { left, top } = canvas.getBoundingClientRect();
      const density = window.devicePixelRatio;
      const at = [Math.round(left + (a * x + e) / density), Math.round(top + (d * y + f) / density)];
      return {
        x: at[0],
        y: at[1],
        // What the page makes of it.
        column: ((at[0] - left) * density - e) / a,
        row: ((at[1] - top) * density - f) / d,
      };
    },
    [column + 0.5, row + 0.5],
  );
}

export async function judge(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() =>
    window.axe.run(document, { resultTypes: ['violations'] }),
  );
  return violations.map(one => ({
    id: one.id,
    impact: one.impact,
    nodes: one.nodes.map(node => `${node.target.join(' ')}: ${node.failureSummary}`.slice(0, 300)),
  }));
}

// The colours of words and of what they stand on, as the browser resolves them.
export function colours(page) {
  return page.evaluate(() => {
    const read = (root, names) => {
      const probe = document.createElement('span');
      root.append(probe);
      const found = {};
      for (const name of names) {
        probe.style.color = `var(--${name})`;
        const canvas = document.createElement('canvas');
        const context = canvas.getContext('2d');
        context.fillStyle = getComputedStyle(probe).color;
        context.fillRect(0, 0, 1, 1);
        found[name] = [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
      }
      probe.remove();
      return found;
    };
    const words = ['text', 'muted', 'accent', 'good', 'caution', 'bad'];
    const grounds = ['ground', 'surface', 'raised'];
    const tinted = ['good-ground', 'caution-ground', 'bad-ground', 'accent-ground', 'on-accent'];
    const images = document.querySelector('.images');
    return {
      page: read(document.body, [...words, ...grounds, ...tinted]),
      images: images ? read(images, [...words, 'surface', 'raised', 'accent-ground', 'on-accent']) : null,
    };
  });
}
