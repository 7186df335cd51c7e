// The backend of a mobile app whose people sign in on other screens: it scans and decides at the gateway in their name.
// Run: node examples/node/phone.mjs
// The app posts {"code": what its camera read} to /sign-in/scan, shows what is answered, which is who asks, and posts the
// same, with "match" if a number was asked for, to /sign-in/confirm or /sign-in/decline.
// Settings: GATEWAY_URL; SCANGATE_IDENTITY_SECRET_FILE, _ISSUER and _AUDIENCE, the same as the gateway's; PORT.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { SignJWT } from 'jose';

const { GATEWAY_URL: GATEWAY = 'http://localhost:8080', PORT = '4001', ...env } = process.env;
const SECRET = readFileSync(env.SCANGATE_IDENTITY_SECRET_FILE ?? 'secret.txt', 'utf8').replace(/[\r\n]+$/, '');
const ISSUER = env.SCANGATE_IDENTITY_ISSUER ?? 'https://id.example.com';
const AUDIENCE = env.SCANGATE_IDENTITY_AUDIENCE ?? 'scangate';
const ACTIONS = new Map([['/sign-in/scan', 'scan'], ['/sign-in/confirm', 'confirm'], ['/sign-in/decline', 'cancel']]);

// A STAND-IN for the app's own sign-in: whoever sends this header is believed. Look up your session here instead.
const PEOPLE = new Map([['ada', 'Ada Lovelace'], ['grace', 'Grace Hopper']]);
const caller = (request) => request.headers['x-demo-user'];

// Says to the gateway who the person is. It is good there alone, and for a minute.
const identity = (user) => new SignJWT({ name: PEOPLE.get(user) }).setProtectedHeader({ alg: 'HS256' })
  .setIssuer(ISSUER).setAudience(AUDIENCE).setSubject(user).setExpirationTime('1m')
  .sign(new TextEncoder().encode(SECRET));

// A code is the gateway's own address and a ticket's id. Any other is refused, and not opened.
function ticketOf(code) {
  const id = typeof code === 'string' && code.startsWith(`${GATEWAY}/s/`) ? code.slice(GATEWAY.length + 3) : '';
  return /^[\w-]{22}$/.test(id) ? id : null;
}

async function answer(request) {
  const refuse = (status, detail) => ({ status, type: 'application/problem+json', body: JSON.stringify({ detail }) });
  const action = request.method === 'POST' && ACTIONS.get(request.url);
  if (!action) return refuse(404, `POST to ${[...ACTIONS.keys()].join(', ')}.`);
  const user = caller(request);
  if (!PEOPLE.has(user)) return refuse(401, 'Sign in to the app first.');
  let text = '';
  for await (const chunk of request) if ((text += chunk).length > 4096) return refuse(413, 'That is no code.');
  let asked = null;
  try { asked = JSON.parse(text); } catch { /* What is not JSON has no code. */ }
  const ticket = ticketOf(asked?.code);
  if (!ticket) return refuse(400, 'This is no code for signing in here.');
  const headers = { 'Content-Type': 'application/json', Authorization: `Bearer ${await identity(user)}` };
  headers['X-Forwarded-For'] = request.socket.remoteAddress; // The gateway's limits count phones, not this backend.
  try {
    const body = JSON.stringify({ match: asked.match }); // {} without a number.
    const call = { method: 'POST', headers, body, redirect: 'error', signal: AbortSignal.timeout(5_000) };
    const got = await fetch(`${GATEWAY}/v1/tickets/${ticket}/${action}`, call);
    const [type, retry] = [got.headers.get('content-type'), got.headers.get('retry-after')];
    return { status: got.status, type, retry, body: await got.text() }; // Problems, too, are passed on as they are.
  } catch { return refuse(503, 'The gateway cannot be reached.'); }
}

const server = createServer(async (request, response) => {
  const { status, type, retry, body } = await answer(request);
  response.writeHead(status, { 'Content-Type': type, ...(retry && { 'Retry-After': retry }) }).end(body);
});
server.listen(Number(PORT), '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
