// A backend with one protected route: it lets in who brings a JWT of the gateway, checked by the keys published there.
// Run: node examples/node/verify.mjs
// Then: curl http://127.0.0.1:4000/me -H "Authorization: Bearer $jwt"
// Settings: GATEWAY_URL, the `iss` of the JWTs; AUDIENCE, their `aud`, which is the client's id; PORT, where to listen.
import { createServer } from 'node:http';
import { createRemoteJWKSet, errors, jwtVerify } from 'jose';

const { GATEWAY_URL = 'http://localhost:8080', AUDIENCE = 'web', PORT = '4000' } = process.env;

// The keys are kept for five minutes. For a key that is not among them they are fetched again, at most every ten seconds.
const keys = createRemoteJWKSet(new URL('/.well-known/jwks.json', GATEWAY_URL), {
  cacheMaxAge: 300_000,
  cooldownDuration: 10_000,
  timeoutDuration: 5_000,
});
// Each key says for which of the algorithms it is. The clocks of two machines differ by some seconds.
const rules = {
  issuer: GATEWAY_URL,
  audience: AUDIENCE,
  algorithms: ['ES256', 'EdDSA', 'RS256'],
  requiredClaims: ['iss', 'aud', 'exp', 'sub'],
  clockTolerance: 30,
};
// Faults that say nothing of the token: the keys could not be fetched.
const NO_KEYS = ['ERR_JOSE_GENERIC', 'ERR_JWKS_INVALID', 'ERR_JWKS_TIMEOUT'];

function send(response, status, body, headers = {}) {
  response.writeHead(status, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store', ...headers });
  response.end(JSON.stringify(body));
}

const server = createServer(async (request, response) => {
  if (request.method !== 'GET' || request.url !== '/me') return send(response, 404, { detail: 'Ask for GET /me.' });
  const token = /^Bearer +([\w.-]+)$/i.exec(request.headers.authorization ?? '')?.[1];
  if (!token) return send(response, 401, { detail: 'Sign in first.' }, { 'WWW-Authenticate': 'Bearer' });
  try {
    const { payload } = await jwtVerify(token, keys, rules);
    // A JWT of the flow share is brought by whoever scanned it, and not by the person whom it names.
    if (payload.flow !== 'login') throw new errors.JWTClaimValidationFailed('The JWT signs nobody in', payload, 'flow');
    send(response, 200, { sub: payload.sub, name: payload.name });
  } catch (error) {
    if (!(error instanceof errors.JOSEError) || NO_KEYS.includes(error.code)) {
      return send(response, 503, { detail: 'The gateway cannot be asked for its keys.' }, { 'Retry-After': '5' });
    }
    send(response, 401, { detail: error.message }, { 'WWW-Authenticate': 'Bearer error="invalid_token"' });
  }
});

server.listen(Number(PORT), '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${server.address().port}`));
