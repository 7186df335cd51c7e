// The company's app: its page shows a code, and its backend verifies the JWT and begins a session of its own.
// Run by: examples/company/run
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRemoteJWKSet, jwtVerify } from 'jose';

const GATEWAY = 'http://localhost:8080';
const HERE = 'http://localhost:3000';
const PAGE = readFileSync(new URL('index.html', import.meta.url));

const keys = createRemoteJWKSet(new URL('/.well-known/jwks.json', GATEWAY));
const rules = {
  issuer: GATEWAY,
  audience: 'expenses',
  algorithms: ['ES256', 'EdDSA', 'RS256'],
  requiredClaims: ['iss', 'aud', 'exp', 'sub'],
  clockTolerance: 30,
};
// Who is signed in, by the secret in their cookie. `sub` is the person's id at the identity provider.
const sessions = new Map();

const sessionOf = (request) => /(?:^|; )expenses=([\w-]{43})(?:;|$)/.exec(request.headers.cookie ?? '')?.[1];

// Returns the secret of a new session, or undefined if the JWT signs nobody in.
async function signIn(request) {
  const text = (await request.setEncoding('utf8').toArray()).join('');
  try {
    const { payload } = await jwtVerify(JSON.parse(text).token, keys, rules);
    if (payload.flow !== 'login') return undefined;
    const secret = randomBytes(32).toString('base64url');
    sessions.set(secret, { sub: payload.sub, name: payload.name, email: payload.email });
    return secret;
  } catch (error) {
    console.log(`app: refused a sign-in: ${error.message}`);
    return undefined;
  }
}

const server = createServer(async (request, response) => {
  const send = (status, type, body, headers = {}) =>
    response.writeHead(status, { 'Content-Type': type, 'Cache-Control': 'no-store', ...headers }).end(body);
  const cookie = (value, rest = '') => ({ 'Set-Cookie': `expenses=${value}; HttpOnly; SameSite=Strict; Path=/${rest}` });
  const json = (status, body, headers) => send(status, 'application/json', JSON.stringify(body), headers);
  // Only this app's own page may change anything here.
  const isOwn = request.headers.origin === HERE && request.headers['content-type'] === 'application/json';
  switch (`${request.method} ${request.url}`) {
    case 'GET /': return send(200, 'text/html; charset=utf-8', PAGE);
    case 'GET /me': return json(200, sessions.get(sessionOf(request)) ?? null);
    case 'POST /sign-out':
      if (!isOwn) return json(403, { detail: 'Not from this page.' });
      sessions.delete(sessionOf(request));
      return json(200, {}, cookie('', '; Max-Age=0'));
    case 'POST /sign-in': {
      if (!isOwn) return json(403, { detail: 'Not from this page.' });
      const secret = await signIn(request);
      return secret ? json(200, {}, cookie(secret)) : json(401, { detail: 'This JWT signs nobody in.' });
    }
    default: return json(404, { detail: 'Not found.' });
  }
});
server.listen(Number(new URL(HERE).port), 'localhost', () => console.log(`app: ${HERE}`));
