// An app that signs one person in with openid-client, and then uses its other functions. ISSUER, CLIENT_SECRET (empty: a
// public client), AUTH (`basic`, `post`, `none`) and PORT come from the environment.
import { createServer } from 'node:http';
import * as client from 'openid-client';

const { ISSUER, CLIENT_SECRET, AUTH, PORT } = process.env;
const here = `http://localhost:${PORT}`;
const authentication = {
  basic: client.ClientSecretBasic(CLIENT_SECRET),
  post: client.ClientSecretPost(CLIENT_SECRET),
  none: client.None(),
}[AUTH];
const config = await client.discovery(new URL(ISSUER), 'app', undefined, authentication, {
  execute: [client.allowInsecureRequests],
});
// Verifies the signature too, although the token came from the provider itself.
client.enableNonRepudiationChecks(config);
let checks;
let tokens;

const pages = {
  '/sign-in': async (url) => {
    checks = {
      pkceCodeVerifier: client.randomPKCECodeVerifier(),
      expectedState: client.randomState(),
      expectedNonce: client.randomNonce(),
      idTokenExpected: true,
    };
    const parameters = {
      redirect_uri: `${here}/callback`,
      scope: 'openid profile email offline_access',
      code_challenge: await client.calculatePKCECodeChallenge(checks.pkceCodeVerifier),
      code_challenge_method: 'S256',
      state: checks.expectedState,
      nonce: checks.expectedNonce,
      ...Object.fromEntries(url.searchParams),
    };
    return client.buildAuthorizationUrl(config, parameters);
  },
  '/callback': async (url) => {
    tokens = await client.authorizationCodeGrant(config, url, checks);
    const claims = tokens.claims();
    return { claims, scope: tokens.scope, userinfo: await client.fetchUserInfo(config, tokens.access_token, claims.sub) };
  },
  '/refresh': async () => {
    const before = tokens.refresh_token;
    tokens = await client.refreshTokenGrant(config, before);
    return { rotated: tokens.refresh_token !== before, claims: tokens.claims() };
  },
  '/introspect': () => client.tokenIntrospection(config, tokens.access_token),
  '/revoke': async () => ({ done: await client.tokenRevocation(config, tokens.refresh_token) }),
  '/userinfo': () => client.fetchUserInfo(config, tokens.access_token, tokens.claims().sub),
  '/sign-out': () => client.buildEndSessionUrl(config, {
    id_token_hint: tokens.id_token, post_logout_redirect_uri: `${here}/bye`, state: 'of the app',
  }),
  '/bye': (url) => Object.fromEntries(url.searchParams),
};

createServer(async (request, response) => {
  const url = new URL(request.url, here);
  try {
    const answer = await pages[url.pathname](url);
    if (answer instanceof URL) return response.writeHead(302, { location: answer.href }).end();
    return response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
  } catch (error) {
    // The library's form of an error of the provider.
    const said = error.error ?? error.cause?.[0]?.parameters?.error ?? String(error);
    return response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ error: said }));
  }
}).listen(Number(PORT), 'localhost');
