// The company's identity provider: an ordinary OpenID Connect provider (the npm package oidc-provider) with one made-up
// employee. In place of it, you have Keycloak, Entra ID, Okta or another one. It knows the gateway as any other web app.
// Run by: examples/company/run
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const ISSUER = 'http://localhost:9000';
const EMPLOYEE = { sub: 'e-1815', name: 'Ada Lovelace', preferred_username: 'ada', email: 'ada@acme.example' };
const PASSWORD = 'engine';

const page = (uid, said) => `<!doctype html><html lang="en"><meta charset="utf-8"><title>Sign in to Acme</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{font:1rem sans-serif;max-width:18rem;margin:2rem auto}input,button{font:inherit;width:100%;margin:.3rem 0 1rem}</style>
<h1>Sign in to Acme</h1><p role="status">${said}</p>
<form method="post" action="/interaction/${uid}"><label>E-mail <input name="email" autocomplete="username"></label>
<label>Password <input name="password" type="password" autocomplete="current-password"></label>
<button name="do" value="sign-in">Sign in</button><button name="do" value="cancel">Cancel</button></form></html>`;

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const provider = new Provider(ISSUER, {
  clients: [{
    client_id: 'scangate',
    client_secret: process.env.CLIENT_SECRET,
    redirect_uris: ['http://localhost:8080/sign-in/callback'],
  }],
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), alg: 'RS256', use: 'sig' }] },
  cookies: { keys: [randomBytes(16).toString('hex')] },
  claims: { profile: ['name', 'preferred_username'], email: ['email'] },
  findAccount: (_, sub) => (sub === EMPLOYEE.sub ? { accountId: sub, claims: () => EMPLOYEE } : undefined),
  // The company's own apps need nobody's consent.
  loadExistingGrant: async ({ oidc }) => {
    const grant = new oidc.provider.Grant({ clientId: oidc.client.clientId, accountId: oidc.session.accountId });
    grant.addOIDCScope(oidc.params.scope);
    await grant.save();
    return grant;
  },
  features: { devInteractions: { enabled: false }, rpInitiatedLogout: { enabled: false } },
  interactions: { url: (_, { uid }) => `/interaction/${uid}` },
});

async function interaction(request, response) {
  const { uid } = await provider.interactionDetails(request, response);
  let said = `The made-up employee is ${EMPLOYEE.email}, and the password is “${PASSWORD}”.`;
  if (request.method === 'POST') {
    const form = new URLSearchParams((await request.setEncoding('utf8').toArray()).join('').slice(0, 4096));
    const isAda = form.get('email') === EMPLOYEE.email && form.get('password') === PASSWORD;
    const result = form.get('do') === 'cancel' ? { error: 'access_denied' } : { login: { accountId: EMPLOYEE.sub } };
    if (isAda || result.error) return provider.interactionFinished(request, response, result);
    said = `That is wrong. ${said}`;
  }
  response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8', 'Cache-Control': 'no-store' }).end(page(uid, said));
}

const handle = provider.callback();
const server = createServer((request, response) => {
  if (!request.url.startsWith('/interaction/')) return handle(request, response);
  interaction(request, response).catch((error) => response.writeHead(400).end(`${error.error_description ?? error.message}\n`));
});
server.listen(Number(new URL(ISSUER).port), 'localhost', () => console.log(`provider: ${ISSUER}`));
