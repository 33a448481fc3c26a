// Open the page of a study and say what a reader sees of its reports and phrases. The
// task comes as JSON on standard input: {url, folder, password, studies: [UID]}.
import {
  complaints, launch, openContext, openStudy, picture, signIn, task,
} from './page-tools.mjs';

const browser = await launch();
try {
  const context = await openContext(browser);
  const page = await context.newPage();
  await signIn(page, 'ada');
  const studies = {};
  for (const study of task.studies) {
    await openStudy(page, study);
    await page.screenshot({ path: picture(`hospital-${study.slice(-6)}`) });
    studies[study] = await page.evaluate(() => ({
      text: document.body.innerText,
      phrases: [...document.querySelectorAll('[data-phrase]')].map(one => ({
        text: one.textContent, kind: one.className, label: one.getAttribute('aria-label'),
      })),
    }));
  }
  process.stdout.write(JSON.stringify({ studies, complaints }));
} finally {
  await browser.close();
}
