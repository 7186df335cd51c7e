// Does in a browser what it is asked for, so that a test can act on several: node drive.mjs firefox|webkit. When the browser is
// there it prints {"port": N}. Each request to that port is one action, in JSON: POST /goto|run|click|write with the arguments in
// an array. The answer is {"value": ...} or {"error": "..."}. SIGTERM ends it and the browser.
import { createServer } from 'node:http';

import { open } from './engines.mjs';

const ACTIONS = ['goto', 'run', 'click', 'write'];

const page = await open[process.argv[2]]();
const server = createServer(async (request, response) => {
  let answer;
  try {
    let body = '';
    for await (const chunk of request) { body += chunk; }
    const action = ACTIONS.find((name) => request.url === `/${name}`);
    const value = await page[action](...JSON.parse(body));
    // What an action itself returns is not always JSON.
    answer = { value: action === 'run' ? value ?? null : null };
  } catch (error) {
    answer = { error: String(error) };
  }
  response.end(JSON.stringify(answer));
});
process.once('SIGTERM', async () => {
  await page.end();
  process.exit(0);
});
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })));
