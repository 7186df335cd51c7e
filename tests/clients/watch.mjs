// Opens a page in a browser that is not Chromium, and prints what <body> says of its state and which ticket is on show, a line of
// JSON whenever that changes: node watch.mjs firefox|webkit URL. SIGTERM ends it and the browser.
import { open } from './engines.mjs';

const [browser, url] = process.argv.slice(2);
const EVERY_MS = 200;
const LOOK = `return { state: document.body.dataset.state, transport: document.body.dataset.transport,
  ticket: ((document.querySelector('.scangate-link') || {}).href || '').split('/').pop() };`;

const page = await open[browser]();
let over = false;
process.once('SIGTERM', () => { over = true; });
try {
  await page.goto(url);
  let before = '';
  while (!over) {
    const now = JSON.stringify(await page.run(LOOK).catch(() => null) || {});
    if (now !== before) { console.log(now); }
    before = now;
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  }
} finally {
  await page.end();
}
process.exit(0);
