// Browsers that are not Chromium: open.firefox() and open.webkit() start one with nothing in it and return its only page.
import { spawn } from 'node:child_process';

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
    click: (css) => page.click(css),
    write: (css, text) => page.type(css, text),
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
    const { value } = await answer.json();
    if (value && value.error) { throw new Error(`${value.error}: ${value.message}`); }
    return value;
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
  const element = async (css) => Object.values(await ask('POST', `${session}/element`, { using: 'css selector', value: css }))[0];
  return {
    goto: (address) => ask('POST', `${session}/url`, { url: address }),
    run: (script) => ask('POST', `${session}/execute/sync`, { script, args: [] }),
    click: async (css) => ask('POST', `${session}/element/${await element(css)}/click`, {}),
    write: async (css, text) => ask('POST', `${session}/element/${await element(css)}/value`, { text }),
    end
  };
}

export const open = { firefox, webkit };
