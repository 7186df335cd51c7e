// An app that signs one person in by oauth4webapi. ISSUER, CLIENT_SECRET, MODE (`query`, `form_post`) and PORT come from the
// environment.
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

async function begin() {
  begun = {
    verifier: oauth.generateRandomCodeVerifier(), state: oauth.generateRandomState(), nonce: oauth.generateRandomNonce(),
  };
  const url = new URL(server.authorization_endpoint);
  url.search = new URLSearchParams({
    client_id: 'app', redirect_uri: `${here}/callback`, response_type: 'code', scope: 'openid email', response_mode: MODE,
    state: begun.state, nonce: begun.nonce,
    code_challenge: await oauth.calculatePKCECodeChallenge(begun.verifier), code_challenge_method: 'S256',
  });
  return url;
}

const errorOf = (error) => error.error ?? error.cause?.[0]?.parameters?.error ?? String(error);

async function finish(answer) {
  const parameters = oauth.validateAuthResponse(server, client, answer, begun.state);
  const exchange = () => oauth.authorizationCodeGrantRequest(
    server, client, authentication, parameters, `${here}/callback`, begun.verifier, insecure,
  );
  const response = await exchange();
  const tokens = await oauth.processAuthorizationCodeResponse(server, client, response, {
    expectedNonce: begun.nonce, requireIdToken: true,
  });
  await oauth.validateApplicationLevelSignature(server, response, insecure);
  const claims = oauth.getValidatedIdTokenClaims(tokens);
  const userinfo = async () => oauth.processUserInfoResponse(
    server, client, claims.sub, await oauth.userInfoRequest(server, client, tokens.access_token, insecure),
  );
  const person = await userinfo();
  const again = await oauth.processAuthorizationCodeResponse(server, client, await exchange()).then(() => 'taken', errorOf);
  return { claims, userinfo: person, again, userinfoAfterwards: await userinfo().then(() => 'given', errorOf) };
}

createServer(async (request, response) => {
  const url = new URL(request.url, here);
  try {
    if (url.pathname === '/sign-in') return response.writeHead(302, { location: (await begin()).href }).end();
    const body = (await request.setEncoding('utf8').toArray()).join('');
    const said = await finish(request.method === 'POST' ? new URLSearchParams(body) : url.searchParams);
    const answer = { method: request.method, ...said };
    return response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
  } catch (error) {
    return response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ error: errorOf(error) }));
  }
}).listen(Number(PORT), 'localhost');
