// Debian's glewlwyd as an OpenID provider on loopback: a folder with a database, two people, two clients and the OIDC plugin,
// which its own admin API makes. Node's own modules only. `node server.mjs --help`.
import { execFileSync, spawn } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { createServer as createHttpServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const began = performance.now();
const HELP = `node server.mjs [options]    (Debian's glewlwyd and sqlite3)
  --host H               (127.0.0.1)
  --port N               0 takes a free one (0)
  --redirect-uri URL     may be repeated
  --post-logout-uri URL  may be repeated
  --client-id ID         (scangate) -> ID: secret by basic or post; ID-public: none
  --client-secret S      (scangate-test-secret)
  --id-token-alg ALG     RS256 | ES256 | PS256 | EdDSA (RS256)
  --access-token-ttl, --code-ttl N   seconds; the ID token lives as long as the access token (3600, 60)
  --consent ask|given    given: the person's consent to every client is in the database (ask)
  --no-iss               no RFC 9207 iss in the callback
  --claims scope|always|on-demand    name and email: by scope, in every token, only by the claims parameter (scope)
  --keep DIR             the folder; kept (a temporary one, removed)
  --log LEVEL            NONE | ERROR | WARNING | INFO | DEBUG, to stderr (ERROR)
One line of JSON on stdout when ready. SIGUSR2 rotates the keys, SIGTERM ends both.
--control-port N (0): POST /rotate[?drop=1]; its address is in the line of JSON.`;
const { values: option } = parseArgs({
  options: {
    help: { type: 'boolean' },
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '0' },
    'control-port': { type: 'string', default: '0' },
    'redirect-uri': { type: 'string', multiple: true, default: ['http://127.0.0.1:9/callback'] },
    'post-logout-uri': { type: 'string', multiple: true, default: [] },
    'client-id': { type: 'string', default: 'scangate' },
    'client-secret': { type: 'string', default: 'scangate-test-secret' },
    'id-token-alg': { type: 'string', default: 'RS256' },
    'access-token-ttl': { type: 'string', default: '3600' },
    'code-ttl': { type: 'string', default: '60' },
    consent: { type: 'string', default: 'ask' },
    'no-iss': { type: 'boolean', default: false },
    claims: { type: 'string', default: 'scope' },
    keep: { type: 'string' },
    log: { type: 'string', default: 'ERROR' },
  },
});
if (option.help) {
  console.log(HELP);
  process.exit(0);
}

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => { server.listen(0, option.host, resolve); });
  const { port } = server.address();
  await new Promise((resolve) => { server.close(resolve); });
  return port;
}
const port = Number(option.port) || await freePort();
const base = `http://${option.host}:${port}`;
const issuer = `${base}/api/oidc`;
const folder = option.keep
  ?? mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'glewlwyd-')); // sqlite syncs every write
mkdirSync(folder, { recursive: true });

// Debian's webapp/config.json is a link to a directory (2.7.5-3+deb12u1): the pages need a real one.
const webapp = join(folder, 'webapp');
cpSync('/usr/share/glewlwyd/webapp', webapp, {
  recursive: true, dereference: true, filter: (source) => !source.endsWith('/config.json') && !source.endsWith('.map'),
});
writeFileSync(join(webapp, 'config.json'), readFileSync('/usr/share/glewlwyd/templates/config.json'));

const database = join(folder, 'glewlwyd.db');
rmSync(database, { force: true });
const schema = readFileSync('/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3', 'utf8')
  // The plugin reads the client's property post_logout_redirect_uris; the default data format names only the singular.
  .replace('"post_logout_redirect_uri":{"multiple":false', '"post_logout_redirect_uris":{"multiple":true');
execFileSync('sqlite3', [database], { input: `PRAGMA synchronous=OFF;BEGIN;\n${schema}\nCOMMIT;\n` });

const configuration = join(folder, 'glewlwyd.conf');
writeFileSync(configuration, `
port = ${port}
bind_address = "${option.host}"
external_url = "${base}"
login_url = "login.html"
api_prefix = "api"
static_files_path = "${webapp}"
log_mode = "console"
log_level = "${option.log}"
cookie_secure = 0
cookie_same_site = "lax"
session_key = "GLEWLWYD_${port}"
admin_scope = "g_admin"
profile_scope = "g_profile"
user_module_path = "/usr/lib/glewlwyd/user"
client_module_path = "/usr/lib/glewlwyd/client"
user_auth_scheme_module_path = "/usr/lib/glewlwyd/scheme"
plugin_module_path = "/usr/lib/glewlwyd/plugin"
hash_algorithm = "SHA512"
database = { type = "sqlite3"; path = "${database}"; };
static_files_mime_types = (
  { extension = ".html"; mime_type = "text/html"; compress = 0; },
  { extension = ".css"; mime_type = "text/css"; compress = 0; },
  { extension = ".js"; mime_type = "application/javascript"; compress = 0; },
  { extension = ".json"; mime_type = "application/json"; compress = 0; },
  { extension = ".png"; mime_type = "image/png"; compress = 0; },
  { extension = ".ico"; mime_type = "image/x-icon"; compress = 0; },
  { extension = ".woff2"; mime_type = "font/woff2"; compress = 0; }
);
`);

const child = spawn('/usr/bin/glewlwyd', [`--config-file=${configuration}`], { stdio: ['ignore', 'pipe', 'pipe'] });
let log = '';
for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => { log += chunk; process.stderr.write(chunk); });
let ending = false;
process.on('exit', () => child.kill('SIGTERM')); // also when the configuration fails
child.once('exit', (code, signal) => {
  if (!option.keep) rmSync(folder, { recursive: true, force: true });
  if (!ending) console.error(`glewlwyd ended: ${code ?? signal}\n${log}`);
  process.exit(ending ? 0 : 1);
});
function end() {
  ending = true;
  child.kill('SIGTERM');
}
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, end);

let cookie;
async function api(method, path, body) {
  const response = await fetch(`${base}/api/${path}`, {
    method, headers: { 'content-type': 'application/json', ...(cookie && { cookie }) }, body: body && JSON.stringify(body),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  cookie ??= response.headers.get('set-cookie')?.split(';')[0];
  return text ? JSON.parse(text) : undefined;
}
async function listening() {
  for (let tries = 0; tries < 200; tries += 1) {
    try {
      return await (await fetch(`${base}/config`)).json();
    } catch {
      await new Promise((resolve) => { setTimeout(resolve, 25); });
    }
  }
  throw new Error('glewlwyd does not listen');
}

function newKeys() {
  const alg = option['id-token-alg'];
  const [type, parameters] = { RS256: ['rsa', { modulusLength: 2048 }], PS256: ['rsa', { modulusLength: 2048 }], ES256: ['ec', { namedCurve: 'P-256' }], EdDSA: ['ed25519', {}] }[alg];
  return [{ ...generateKeyPairSync(type, parameters).privateKey.export({ format: 'jwk' }), kid: `${alg.toLowerCase()}-${randomBytes(6).toString('base64url')}`, alg, use: 'sig' }];
}
let keys = newKeys();
const byScope = option.claims === 'scope';
const named = option.claims === 'always' ? 'mandatory' : option.claims === 'on-demand' ? 'on-demand' : 'no';
const claim = (name, property, scope, more = {}) => ({
  name, 'user-property': property, type: 'string', mandatory: option.claims === 'always', 'on-demand': option.claims === 'on-demand', scope: byScope ? [scope] : [], ...more,
});
const plugin = () => ({
  module: 'oidc', name: 'oidc', display_name: 'OpenID Connect', enabled: true,
  parameters: {
    iss: issuer,
    'jwks-private': JSON.stringify({ keys }), 'jwks-show': true, 'default-kid': keys[0].kid,
    'jwt-type': 'rsa', 'jwt-key-size': '256',
    'access-token-duration': Number(option['access-token-ttl']), 'refresh-token-duration': 86400, 'code-duration': Number(option['code-ttl']),
    'refresh-token-rolling': true, 'refresh-token-one-use': 'always',
    'allow-non-oidc': false, 'auth-type-code-enabled': true, 'auth-type-code-revoke-replayed': true,
    'auth-type-token-enabled': false, 'auth-type-id-token-enabled': true, 'auth-type-none-enabled': false,
    'auth-type-password-enabled': false, 'auth-type-client-enabled': false, 'auth-type-device-enabled': false, 'auth-type-refresh-enabled': true,
    'pkce-allowed': true, 'pkce-method-plain-allowed': false, 'pkce-required': false, 'pkce-required-public-client': true,
    'oauth-as-iss-id': !option['no-iss'],
    'session-management-allowed': true, 'front-channel-logout-allowed': true, // without the second its logout page does nothing
    'session-cookie-name': `GLEWLWYD_SID_${port}`, 'session-cookie-expiration': 86400,
    'introspection-revocation-allowed': true, 'introspection-revocation-allow-target-client': true,
    'subject-type': 'public',
    'allowed-scope': ['openid', 'profile', 'email'],
    'name-claim': named, 'name-claim-scope': byScope ? ['profile'] : [],
    'email-claim': named, 'email-claim-scope': byScope ? ['email'] : [],
    claims: [
      claim('preferred_username', 'username', 'profile'),
      claim('picture', 'picture', 'profile'),
      claim('email_verified', 'email-verified', 'email', { type: 'boolean', 'boolean-value-true': '1', 'boolean-value-false': '0' }),
    ],
  },
});

async function rotate(drop) {
  keys = drop ? newKeys() : [...newKeys(), ...keys];
  await api('POST', 'auth/', { username: 'admin', password: 'password' });
  await api('PUT', 'mod/plugin/oidc', plugin());
  await api('PUT', 'mod/plugin/oidc/reset');
  return { signing: keys[0].kid, published: keys.map(({ kid }) => kid) };
}

await listening();
const up = performance.now();
await api('POST', 'auth/', { username: 'admin', password: 'password' });
const users = await api('GET', 'mod/user/database');
users.parameters['data-format']['email-verified'] = { multiple: false, read: true, write: true };
await api('PUT', 'mod/user/database', users);
await api('PUT', 'mod/user/database/reset');
for (const name of ['openid', 'profile', 'email']) { // openid is there already, with no password asked for it
  await api(...(name === 'openid' ? ['PUT', 'scope/openid'] : ['POST', 'scope/']), { name, display_name: name, description: name, password_required: true, password_max_age: 0, scheme: {}, enabled: true });
}
const people = [
  { username: 'alice', password: 'alice-password', name: 'Alice Example', email: 'alice@example.test', 'email-verified': '1', picture: `${base}/img/logo-login.png` },
  { username: 'bob', password: 'bob-password', name: 'Bob Beispiel', email: 'bob@example.test', 'email-verified': '0' },
];
for (const person of people) await api('POST', 'user/', { ...person, scope: ['openid', 'profile', 'email', 'g_profile'], enabled: true });
const clients = { confidential: option['client-id'], public: `${option['client-id']}-public` };
const common = {
  redirect_uri: option['redirect-uri'], post_logout_redirect_uris: option['post-logout-uri'],
  authorization_type: ['code', 'refresh_token', 'delete_token'], enabled: true, scope: [],
};
await api('POST', 'client/', { ...common, client_id: clients.confidential, name: 'Scangate', confidential: true, client_secret: option['client-secret'], token_endpoint_auth_method: ['client_secret_basic', 'client_secret_post'] });
await api('POST', 'client/', { ...common, client_id: clients.public, name: 'Scangate (public)', confidential: false, token_endpoint_auth_method: ['none'] });
await api('POST', 'mod/plugin/', plugin());
if (option.consent === 'given') {
  for (const { username, password } of people) {
    const admin = cookie;
    cookie = undefined;
    await api('POST', 'auth/', { username, password });
    for (const id of Object.values(clients)) await api('PUT', `auth/grant/${id}`, { scope: 'openid profile email' });
    cookie = admin;
  }
}

const control = createHttpServer(async (request, response) => {
  const url = new URL(request.url, base);
  try {
    if (request.method !== 'POST' || url.pathname !== '/rotate') throw new Error('POST /rotate');
    response.end(JSON.stringify(await rotate(url.searchParams.get('drop') === '1')));
  } catch (error) {
    response.writeHead(500).end(String(error));
  }
});
await new Promise((resolve) => { control.listen(Number(option['control-port']), option.host, resolve); });
process.on('SIGUSR2', () => rotate(false).then((answer) => console.error(JSON.stringify(answer)), console.error));
console.log(JSON.stringify({
  ready: true, issuer, port, pid: process.pid, glewlwyd: child.pid, folder, clients, control: `http://${option.host}:${control.address().port}`,
  ms: { listening: Math.round(up - began), configured: Math.round(performance.now() - up) },
}));
