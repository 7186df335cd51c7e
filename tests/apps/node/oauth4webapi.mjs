// An app that signs one person in with oauth4webapi, and then uses its other functions. ISSUER, CLIENT_SECRET, MODE (`query`,
// `form_post`) and PORT come from the environment.
import { createServer } from 'node:http';
import * as oauth from 'oauth4webapi';

const { ISSUER, CLIENT_SECRET, MODE, PORT } = process.env;
const here = `http://localhost:${PORT}`;
const insecure = { [oauth.allowInsecureRequests]: true };
const issuer = new URL(ISSUER);
const server = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, insecure));
const client = { client_id: 'app' };
const authentication = oauth.ClientSecretBasic(CLIENT_SECRET);
let begun;
let tokens;

/** Exchanges the newest code that the app got. */
const exchange = () => oauth.authorizationCodeGrantRequest(
  server, client, authentication, begun.parameters, `${here}/callback`, begun.verifier, insecure,
);

const userinfo = async () => oauth.processUserInfoResponse(
  server, client, oauth.getValidatedIdTokenClaims(tokens).sub,
  await oauth.userInfoRequest(server, client, tokens.access_token, insecure),
);

const pages = {
  '/sign-in': async (answer) => {
    begun = {
      verifier: oauth.generateRandomCodeVerifier(),
      state: oauth.generateRandomState(),
      nonce: oauth.generateRandomNonce(),
    };
    const url = new URL(server.authorization_endpoint);
    url.search = new URLSearchParams({
      client_id: 'app',
      redirect_uri: `${here}/callback`,
      response_type: 'code',
      scope: 'openid email offline_access',
      response_mode: MODE,
      state: begun.state,
      nonce: begun.nonce,
      code_challenge: await oauth.calculatePKCECodeChallenge(begun.verifier),
      code_challenge_method: 'S256',
      ...Object.fromEntries(answer),
    });
    return url;
  },
  '/callback': async (answer, method) => {
    begun.parameters = oauth.validateAuthResponse(server, client, answer, begun.state);
    const response = await exchange();
    tokens = await oauth.processAuthorizationCodeResponse(server, client, response, {
      expectedNonce: begun.nonce, requireIdToken: true,
    });
    await oauth.validateApplicationLevelSignature(server, response, insecure);
    return { method, claims: oauth.getValidatedIdTokenClaims(tokens), userinfo: await userinfo() };
  },
  '/again': async () => oauth.processAuthorizationCodeResponse(server, client, await exchange()),
  '/userinfo': userinfo,
  '/refresh': async () => {
    const before = tokens.refresh_token;
    const response = await oauth.refreshTokenGrantRequest(server, client, authentication, before, insecure);
    tokens = await oauth.processRefreshTokenResponse(server, client, response);
    await oauth.validateApplicationLevelSignature(server, response, insecure);
    return { rotated: tokens.refresh_token !== before, claims: oauth.getValidatedIdTokenClaims(tokens) };
  },
  '/revoke': async () => {
    const request = oauth.revocationRequest(server, client, authentication, tokens.refresh_token, insecure);
    return { done: await oauth.processRevocationResponse(await request) };
  },
  '/sign-out': () => {
    begun = { state: oauth.generateRandomState() };
    const url = new URL(server.end_session_endpoint);
    url.search = new URLSearchParams({
      id_token_hint: tokens.id_token, post_logout_redirect_uri: `${here}/bye`, state: begun.state,
    });
    return url;
  },
  '/bye': (answer) => ({ signedOut: answer.get('state') === begun.state }),
};

createServer(async (request, response) => {
  const url = new URL(request.url, here);
  const body = (await request.setEncoding('utf8').toArray()).join('');
  const said = request.method === 'POST' ? new URLSearchParams(body) : url.searchParams;
  try {
    const answer = await pages[url.pathname](said, request.method);
    if (answer instanceof URL) return response.writeHead(302, { location: answer.href }).end();
    return response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
  } catch (error) {
    // The library's form of an error of the provider.
    const name = error.error ?? error.cause?.[0]?.parameters?.error ?? String(error);
    return response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ error: name }));
  }
}).listen(Number(PORT), 'localhost');
