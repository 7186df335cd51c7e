// The package oidc-provider as an OpenID provider on loopback: two people, three clients, its own pages, which load nothing from
// elsewhere, and switches for tests. `node server.mjs --help`.
import { createServer } from 'node:http';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

const started = performance.now();
const { Provider, interactionPolicy, errors } = await import('oidc-provider');

const HELP = `node server.mjs [options]
  --host H               address to listen on (127.0.0.1)
  --port N               0 takes a free one (0)
  --issuer URL           (http://HOST:PORT); https:// when a TLS proxy stands before it
  --name TEXT            on the pages (Acme)
  --redirect-uri URL     may be repeated; of the clients scangate (client_secret_basic, RS256 ID tokens),
                         scangate-post (ES256) and scangate-public (none, EdDSA); the client app is a native app
  --post-logout-uri URL  may be repeated
  --claims-in-id-token   name, email, ... are in the ID token too (else: userinfo only)
  --auth-claims W        asked: auth_time only after max_age or prompt=login, acr only after acr_values,
                         amr never; always: all three in every ID token (asked)
  --consent ask|auto     ask once per person and client, or never (ask)
  --resource URI         audience for which JWT access tokens can be asked with resource=URI
  --state FILE           keys, sessions, grants, codes are kept there over SIGTERM and a new start
  --session-ttl N        seconds (86400)
One line of JSON on stdout when ready. SIGUSR2 rotates the keys, SIGTERM ends it.
POST /test/rotate[?drop=1]              new signing keys; drop=1: the old ones leave the JWKS at once
POST /test/delay?path=/token&seconds=5  0 ends it
POST /test/fail?path=/token&status=503  0 ends it
GET  /test/requests                     what was asked so far (no secrets); DELETE empties it`;

const { values: option } = parseArgs({
  options: {
    help: { type: 'boolean' },
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '0' },
    issuer: { type: 'string' },
    name: { type: 'string', default: 'Acme' },
    'redirect-uri': { type: 'string', multiple: true, default: ['http://127.0.0.1:9/callback'] },
    'post-logout-uri': { type: 'string', multiple: true, default: [] },
    'claims-in-id-token': { type: 'boolean', default: false },
    'auth-claims': { type: 'string', default: 'asked' },
    consent: { type: 'string', default: 'ask' },
    resource: { type: 'string' },
    state: { type: 'string' },
    'session-ttl': { type: 'string', default: '86400' },
  },
});
if (option.help) {
  console.log(HELP);
  process.exit(0);
}

// People. The `otp` is the second factor: with it the sign-in is acr "mfa", without "pwd".
const PEOPLE = [
  {
    login: 'alice', password: 'alice-password', otp: '111111',
    claims: {
      sub: '4f1c8a52-alice', name: 'Alice Example', preferred_username: 'alice',
      given_name: 'Alice', family_name: 'Example', email: 'alice@example.test', email_verified: true,
    },
  },
  {
    login: 'bob', password: 'bob-password', otp: '222222',
    claims: {
      sub: '9be07d31-bob', name: 'Bob Beispiel', preferred_username: 'bob',
      given_name: 'Bob', family_name: 'Beispiel', email: 'bob@example.test', email_verified: false,
    },
  },
];
const PICTURE = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==',
  'base64',
);

const server = createServer();
await new Promise((resolve, reject) => {
  server.once('error', reject);
  server.listen(Number(option.port), option.host, resolve);
});
const { port } = server.address();
const issuer = option.issuer ?? `http://${option.host}:${port}`;
const SECRET = 'scangate-test-secret';

function newKeys() {
  const kid = randomBytes(6).toString('base64url');
  const jwk = (type, options, alg) => ({
    ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }),
    kid: `${alg.toLowerCase()}-${kid}`, use: 'sig', alg,
  });
  return [
    jwk('rsa', { modulusLength: 2048 }, 'RS256'),
    jwk('ec', { namedCurve: 'P-256' }, 'ES256'),
    jwk('ed25519', {}, 'EdDSA'),
  ];
}

// What the provider remembers, shared by the providers that a rotation makes.
let keys;
let cookieKeys = [randomBytes(16).toString('hex')];
let rows = new Map();
class Store {
  constructor(model) { this.model = model; }

  async upsert(id, payload, seconds) {
    rows.set(`${this.model}:${id}`, { payload: structuredClone(payload), until: seconds ? Date.now() + seconds * 1000 : Infinity });
  }

  async find(id) {
    const row = rows.get(`${this.model}:${id}`);
    if (row && row.until <= Date.now()) rows.delete(`${this.model}:${id}`);
    return row && row.until > Date.now() ? structuredClone(row.payload) : undefined;
  }

  async findByUid(uid) { return this.first((payload) => payload.uid === uid); }

  async findByUserCode(code) { return this.first((payload) => payload.userCode === code); }

  first(wanted) {
    const row = [...rows].find(([key, { payload, until }]) => key.startsWith(`${this.model}:`) && until > Date.now() && wanted(payload));
    return row && structuredClone(row[1].payload);
  }

  async consume(id) { rows.get(`${this.model}:${id}`).payload.consumed = Math.floor(Date.now() / 1000); }

  async destroy(id) { rows.delete(`${this.model}:${id}`); }

  async revokeByGrantId(grantId) {
    for (const [key, { payload }] of rows) {
      if (key.startsWith(`${this.model}:`) && payload.grantId === grantId) rows.delete(key);
    }
  }
}
if (option.state && existsSync(option.state)) {
  const kept = JSON.parse(readFileSync(option.state, 'utf8'));
  keys = kept.keys;
  cookieKeys = kept.cookieKeys;
  rows = new Map(kept.rows.map(([key, { payload, until }]) => [key, { payload, until: until ?? Infinity }]));
} else {
  keys = newKeys();
}
function save() {
  if (option.state) writeFileSync(option.state, JSON.stringify({ keys, cookieKeys, rows: [...rows] }), { mode: 0o600 });
}
save();

const policy = interactionPolicy.base();
// oidc-provider takes acr_values for a wish and never asks again because of it; this check does.
policy.get('login').checks.add(new interactionPolicy.Check(
  'acr_values', 'a stronger sign-in was asked for',
  ({ oidc }) => {
    const wanted = oidc.params.acr_values?.split(' ') ?? [];
    return wanted.length > 0 && !oidc.result?.login && !wanted.includes(oidc.acr)
      ? interactionPolicy.Check.REQUEST_PROMPT : interactionPolicy.Check.NO_NEED_TO_PROMPT;
  },
));

function build() {
  const common = {
    redirect_uris: option['redirect-uri'],
    post_logout_redirect_uris: option['post-logout-uri'],
    grant_types: ['authorization_code'],
    response_types: ['code'],
  };
  const client = (client_id, token_endpoint_auth_method, id_token_signed_response_alg, more) => ({
    ...common, client_id, token_endpoint_auth_method, id_token_signed_response_alg, ...more,
  });
  const app = { application_type: 'native', redirect_uris: ['com.example.app:/signed-in'], post_logout_redirect_uris: [] };
  const provider = new Provider(issuer, {
    clients: [
      client('scangate', 'client_secret_basic', 'RS256', { client_secret: SECRET }),
      client('scangate-post', 'client_secret_post', 'ES256', { client_secret: SECRET }),
      client('scangate-public', 'none', 'EdDSA'),
      client('app', 'none', 'RS256', app),
    ],
    adapter: Store,
    clockTolerance: 0, // else everything lives 15 s longer than its lifetime
    jwks: { keys },
    responseTypes: ['code'],
    acrValues: ['pwd', 'mfa'],
    claims: {
      acr: null, amr: null, auth_time: null, iss: null, sid: null,
      openid: option['auth-claims'] === 'always' ? ['sub', 'auth_time', 'acr', 'amr'] : ['sub'],
      profile: ['name', 'given_name', 'family_name', 'preferred_username', 'picture'],
      email: ['email', 'email_verified'],
    },
    conformIdTokenClaims: !option['claims-in-id-token'],
    // Browsers do not tell ports apart in cookies: names by port let several providers share a host.
    cookies: {
      keys: cookieKeys,
      names: { session: `op_session_${port}`, interaction: `op_interaction_${port}`, resume: `op_resume_${port}` },
    },
    features: {
      devInteractions: { enabled: false },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: (ctx, form) => {
          ctx.body = page('Sign out', `<h1>Sign out of ${escape(option.name)}?</h1>${form}
<button type="submit" form="op.logoutForm" name="logout" value="yes" id="sign-out">Sign out</button>
<button type="submit" form="op.logoutForm" id="stay">Stay signed in</button>`);
        },
        postLogoutSuccessSource: (ctx) => {
          ctx.body = page('Signed out', '<h1 id="signed-out">You are signed out.</h1>');
        },
      },
      resourceIndicators: {
        enabled: Boolean(option.resource),
        getResourceServerInfo: (ctx, resource) => {
          if (resource !== option.resource) throw new errors.InvalidTarget();
          return { scope: 'openid profile email', audience: resource, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } } };
        },
      },
    },
    findAccount: (ctx, sub) => {
      const person = PEOPLE.find(({ claims }) => claims.sub === sub);
      return person && {
        accountId: sub,
        claims: () => ({ ...person.claims, picture: `${issuer}/test/picture.png` }),
      };
    },
    loadExistingGrant: async (ctx) => {
      const { provider: op, client, session, params } = ctx.oidc;
      const id = ctx.oidc.result?.consent?.grantId ?? session.grantIdFor(client.clientId);
      if (id) return op.Grant.find(id);
      if (option.consent === 'ask') return undefined;
      const grant = new op.Grant({ clientId: client.clientId, accountId: session.accountId });
      grant.addOIDCScope(params.scope);
      if (params.resource) grant.addResourceScope(option.resource, params.scope);
      await grant.save();
      return grant;
    },
    interactions: { policy, url: (ctx, { uid }) => `/interaction/${uid}` },
    renderError: (ctx, out) => {
      ctx.type = 'html';
      ctx.body = page('Error', `<h1>Something went wrong</h1>
${Object.entries(out).map(([key, value]) => `<p><b>${escape(key)}</b>: <span id="${escape(key)}">${escape(String(value))}</span></p>`).join('')}`);
    },
    ttl: {
      AccessToken: 3600,
      AuthorizationCode: 60,
      Grant: 14 * 86400,
      IdToken: 3600,
      Interaction: 3600,
      Session: Number(option['session-ttl']),
    },
  });
  provider.proxy = issuer.startsWith('https:');
  provider.on('server_error', (ctx, error) => console.error(error));
  return { provider, handle: provider.callback() };
}
let op = build();

// A provider's keys are fixed when it is made: rotation makes a second one on the same store.
function rotate(drop) {
  const fresh = newKeys();
  keys = drop ? fresh : [...fresh, ...keys];
  save();
  op = build();
  return { signing: fresh.map(({ kid }) => kid), published: keys.map(({ kid }) => kid) };
}

function escape(text) {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
function page(title, body) {
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${escape(title)} - ${escape(option.name)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{font:16px sans-serif;max-width:20rem;margin:2rem auto;padding:0 1rem}input,button{font:inherit;display:block;width:100%;box-sizing:border-box;padding:.6rem;margin:.4rem 0 1rem}</style>
</head><body>${body}</body></html>`;
}
function loginPage(uid, { prompt, params }, wrong) {
  const factor = params.acr_values?.split(' ').includes('mfa');
  return page('Sign in', `<h1>Sign in to ${escape(option.name)}</h1>
${wrong ? '<p id="wrong" role="alert">Wrong name, password or code.</p>' : ''}
<p id="reasons" hidden>${escape(prompt.reasons.join(' '))}</p>
<form method="post" action="/interaction/${uid}/login">
<label>Name <input name="login" autocomplete="username" required value="${escape(params.login_hint ?? '')}"></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required></label>
${factor ? '<label>Code (may stay empty) <input name="otp" autocomplete="one-time-code"></label>' : ''}
<button type="submit" id="sign-in">Sign in</button></form>
<form method="post" action="/interaction/${uid}/cancel"><button type="submit" id="cancel">Cancel</button></form>`);
}
function consentPage(uid, { prompt, params }) {
  const scopes = prompt.details.missingOIDCScope ?? [];
  return page('Consent', `<h1>${escape(params.client_id)} wants to know you</h1>
<p>Scopes: <span id="scopes">${escape(scopes.join(' '))}</span></p>
<form method="post" action="/interaction/${uid}/consent"><button type="submit" id="allow">Allow</button></form>
<form method="post" action="/interaction/${uid}/cancel"><button type="submit" id="cancel">Cancel</button></form>`);
}
async function formOf(request) {
  let body = '';
  for await (const chunk of request) {
    body += chunk;
    if (body.length > 16384) throw new Error('too large');
  }
  return new URLSearchParams(body);
}
function html(response, status, body) {
  response.writeHead(status, { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' });
  response.end(body);
}
function json(response, status, body) {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  response.end(JSON.stringify(body));
}

async function interaction(request, response, uid, step) {
  const { provider } = op;
  let details;
  try {
    details = await provider.interactionDetails(request, response);
  } catch (error) { // no cookie, or run out
    return html(response, 400, page('Error', `<h1>Start again</h1><p id="error_description">${escape(error.error_description ?? error.message)}</p>`));
  }
  if (details.uid !== uid) return html(response, 400, page('Error', '<h1>Start again</h1>'));
  if (request.method === 'GET') {
    return html(response, 200, details.prompt.name === 'login' ? loginPage(uid, details) : consentPage(uid, details));
  }
  if (step === 'cancel') {
    return provider.interactionFinished(request, response, {
      error: 'access_denied', error_description: 'End-User aborted interaction',
    }, { mergeWithLastSubmission: false });
  }
  const form = await formOf(request);
  if (step === 'login') {
    const person = PEOPLE.find(({ login, password }) => login === form.get('login') && password === form.get('password'));
    const otp = form.get('otp') ?? '';
    if (!person || (otp && otp !== person.otp)) return html(response, 200, loginPage(uid, details, true));
    return provider.interactionFinished(request, response, {
      login: { accountId: person.claims.sub, acr: otp ? 'mfa' : 'pwd', amr: otp ? ['pwd', 'otp', 'mfa'] : ['pwd'] },
    }, { mergeWithLastSubmission: false });
  }
  if (step === 'consent') {
    const { prompt, params, session, grantId } = details;
    const grant = grantId ? await provider.Grant.find(grantId)
      : new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
    if (prompt.details.missingOIDCScope) grant.addOIDCScope(prompt.details.missingOIDCScope.join(' '));
    if (prompt.details.missingOIDCClaims) grant.addOIDCClaims(prompt.details.missingOIDCClaims);
    for (const [resource, scopes] of Object.entries(prompt.details.missingResourceScopes ?? {})) {
      grant.addResourceScope(resource, scopes.join(' '));
    }
    return provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } }, { mergeWithLastSubmission: true });
  }
  return html(response, 404, page('Error', '<h1>No such page</h1>'));
}

const delays = new Map();
const failures = new Map();
let requests = [];
const SHOWN = ['client_id', 'prompt', 'max_age', 'acr_values', 'scope', 'ui_locales', 'login_hint', 'redirect_uri'];

function control(request, response, url) {
  const { pathname, searchParams } = url;
  const path = searchParams.get('path');
  switch (`${request.method} ${pathname}`) {
    case 'POST /test/rotate': return json(response, 200, rotate(searchParams.get('drop') === '1'));
    case 'POST /test/delay': delays.set(path, Number(searchParams.get('seconds'))); return json(response, 200, Object.fromEntries(delays));
    case 'POST /test/fail': failures.set(path, Number(searchParams.get('status'))); return json(response, 200, Object.fromEntries(failures));
    case 'GET /test/requests': return json(response, 200, requests);
    case 'DELETE /test/requests': requests = []; return json(response, 200, requests);
    case 'GET /test/picture.png': response.writeHead(200, { 'content-type': 'image/png' }); return response.end(PICTURE);
    default: return json(response, 404, { error: 'not_found' });
  }
}

server.on('request', async (request, response) => {
  const url = new URL(request.url, issuer);
  const { pathname } = url;
  try {
    if (pathname.startsWith('/test/')) return control(request, response, url);
    const entry = { at: new Date().toISOString(), method: request.method, path: pathname };
    const params = Object.fromEntries([...url.searchParams].filter(([key]) => SHOWN.includes(key)));
    if (Object.keys(params).length) entry.params = params;
    requests.push(entry);
    response.once('close', () => { entry.status = response.writableFinished ? response.statusCode : 'aborted'; });
    if (delays.get(pathname)) await new Promise((resolve) => { setTimeout(resolve, delays.get(pathname) * 1000); });
    if (failures.get(pathname)) return json(response, failures.get(pathname), { error: 'temporarily_unavailable' });
    const [, uid, , step] = pathname.match(/^\/interaction\/([\w-]+)(\/(login|consent|cancel))?$/) ?? [];
    if (uid) return await interaction(request, response, uid, step);
    return await op.handle(request, response);
  } catch (error) {
    console.error(error);
    if (!response.headersSent) html(response, 500, page('Error', '<h1>Error</h1>'));
  }
});

process.on('SIGUSR2', () => console.error(JSON.stringify(rotate(false))));
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => { save(); process.exit(0); });
console.log(JSON.stringify({ ready: true, issuer, port, pid: process.pid, ms: Math.round(performance.now() - started) }));
