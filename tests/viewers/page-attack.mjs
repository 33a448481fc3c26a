// Open every page that shows what peers have said, and look whether any of it ran or
// became markup. The task comes as JSON on standard input, the answer goes as JSON to
// standard output.
//
// task: {url, password, folder, studies: [UID], payloads: [text]}
import { launch, openContext, signIn, task } from './page-tools.mjs';

// What a payload would have made, were it markup. The page itself has none of it.
const MADE = [
  '[onerror]', '[onload]', '[onclick]', '[onfocus]', '[onmouseover]', '[ontoggle]', '[onbegin]',
  '[onstart]', '[onpageshow]', '[srcdoc]', '[formaction]', 'iframe', 'object', 'embed', 'base', 'marquee',
  'math', 'isindex', 'video', 'audio', 'a[href^="javascript:" i]', 'a[href^="data:" i]', 'script:not([src])',
  'script[src^="//"]', 'script[src^="http"]', 'link[href^="//"]', 'meta[http-equiv=refresh]', 'style:not([data-own])',
].join(',');

const seen = { ran: [], markup: [], shown: {}, blocked: [], storage: [], pages: 0, sideways: [] };
const browser = await launch();
try {
  const context = await openContext(browser);
  await context.exposeFunction('tellRan', what => seen.ran.push(what));
  await context.addInitScript(() => {
    window.alert = window.confirm = window.prompt = what => window.tellRan(`${location.pathname} ${what}`);
    document.addEventListener('securitypolicyviolation', event => {
      window.blocked = [...(window.blocked ?? []), `${event.violatedDirective} ${event.blockedURI}`];
    });
  });
  context.on('page', page => page.on('dialog', dialog => {
    seen.ran.push(dialog.message());
    return dialog.dismiss();
  }));
  const page = await context.newPage();
  await signIn(page, 'eve');
  await look(page, '/', () => document.querySelectorAll('main a').length > 0);
  await look(page, '/?q=<img src=x onerror=alert(1)>', () => true);
  await look(page, '/operations', () => document.body.innerText.includes('quoting'));
  for (const study of task.studies) {
    await look(page, `/view/${study}`, () => document.querySelector('.report-text') !== null);
    await page.evaluate(() => document.querySelectorAll('details').forEach(one => { one.open = true; }));
    for (const one of await page.$$('[data-phrase][role=button]')) {
      await one.hover();
      await one.click();
    }
    await read(page, `/view/${study}`);
  }
  await page.setViewportSize({ width: 360, height: 800 });
  for (const address of ['/', '/operations', `/view/${task.studies[0]}`]) {
    await page.goto(task.url + address);
    await page.waitForTimeout(400);
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    if (width > 360) seen.sideways.push(`${address}: ${width}`);
  }
  seen.storage = await page.evaluate(() => Object.entries({ ...localStorage, ...sessionStorage }).flat());
  seen.cookie = await page.evaluate(() => document.cookie);
  process.stdout.write(JSON.stringify(seen));
} finally {
  await browser.close();
}

async function look(page, address, isReady) {
  await page.goto(task.url + address);
  await page.waitForFunction(isReady);
  await page.waitForTimeout(150);
  await read(page, address);
}

async function read(page, address) {
  seen.pages += 1;
  const found = await page.evaluate(
    ([made, payloads]) => ({
      markup: [...document.querySelectorAll(made)].map(one => one.outerHTML.slice(0, 160)),
      shown: payloads.filter(one => document.body.innerText.includes(one)),
      blocked: window.blocked ?? [],
    }),
    [MADE, task.payloads],
  );
  seen.markup.push(...found.markup.map(one => `${address}: ${one}`));
  seen.blocked.push(...found.blocked.map(one => `${address}: ${one}`));
  for (const one of found.shown) seen.shown[one] = (seen.shown[one] ?? 0) + 1;
}
