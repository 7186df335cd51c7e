// Opens a page in a browser that is not Chromium, and prints what <body> says of its state and which ticket is on show, a line of
// JSON whenever that changes: node watch.mjs firefox|webkit URL. SIGTERM ends it and the browser.
import { spawn } from 'node:child_process';

const [browser, url] = process.argv.slice(2);
const EVERY_MS = 200;
const LOOK = `return { state: document.body.dataset.state, transport: document.body.dataset.transport,
  ticket: ((document.querySelector('.scangate-link') || {}).href || '').split('/').pop() };`;

// Firefox by WebDriver BiDi, which it speaks itself.
async function firefox() {
  const { default: puppeteer } = await import('puppeteer-core');
  const opened = await puppeteer.launch({
    browser: 'firefox', executablePath: '/usr/bin/firefox-esr', headless: true, acceptInsecureCerts: true
  });
  const page = await opened.newPage();
  return {
    goto: (address) => page.goto(address),
    run: (script) => page.evaluate(`(function () { ${script} }())`),
    end: () => opened.close()
  };
}

// WebKit by its driver. It has no mode without a display.
async function webkit() {
  const display = spawn('Xvfb', ['-displayfd', '1', '-screen', '0', '1000x1150x24', '-nolisten', 'tcp'], { stdio: ['ignore', 'pipe', 'ignore'] });
  const number = await new Promise((resolve) => display.stdout.once('data', (data) => resolve(String(data).trim())));
  const port = 20000 + Math.floor(Math.random() * 10000);
  const driver = spawn('WebKitWebDriver', [`--port=${port}`], { env: { ...process.env, DISPLAY: `:${number}` }, stdio: 'ignore' });
  const ask = async (method, path, body) => {
    const answer = await fetch(`http://127.0.0.1:${port}/session${path}`, { method, body: body && JSON.stringify(body) });
    return (await answer.json()).value;
  };
  const options = { binary: '/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser', args: ['--automation'] };
  const wanted = { capabilities: { alwaysMatch: { acceptInsecureCerts: true, 'webkitgtk:browserOptions': options } } };
  let session = '';
  const end = async () => {
    if (session) { await ask('DELETE', session).catch(() => {}); }
    driver.kill();
    display.kill();
  };
  for (let tries = 0; !session; tries += 1) {
    try {
      session = `/${(await ask('POST', '', wanted)).sessionId}`;
    } catch (error) {
      if (tries > 100) { await end(); throw error; }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
  return {
    goto: (address) => ask('POST', `${session}/url`, { url: address }),
    run: (script) => ask('POST', `${session}/execute/sync`, { script, args: [] }),
    end
  };
}

const page = await { firefox, webkit }[browser]();
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
