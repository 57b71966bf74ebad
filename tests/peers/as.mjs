// Authorization server: the npm package oidc-provider, configured for client_credentials with
// DPoP and mTLS. See README.md for the environment variables, clients and endpoints.
import * as fs from 'node:fs';
import * as http from 'node:http';
import * as https from 'node:https';
import * as os from 'node:os';
import * as path from 'node:path';
import * as crypto from 'node:crypto';
import { exportJWK, generateKeyPair } from 'jose';
import Provider, { errors } from 'oidc-provider';
import { beforeEnd, claimsOf, clip, openLog, proofFields, x5tOf } from './log.mjs';
import { ensurePki } from './pki.mjs';

const env = (name, fallback) => process.env[name] || fallback;
const HOST = '127.0.0.1';
const ownState = env('STATE_DIR') ? undefined : fs.mkdtempSync(path.join(os.tmpdir(), 'test-peers-')); // removed when this stops
const stateDir = await ensurePki(env('STATE_DIR') ?? ownState);
const read = (name) => fs.readFileSync(path.join(stateDir, name), 'utf8');

const useTls = env('AS_TLS', '1') !== '0';
const nonceMode = env('DPOP_NONCE', 'required'); // required | optional | off
const tokenTtl = Number(env('TOKEN_TTL', '300'));
const resourceJwt = env('RESOURCE', 'https://carrier.test/api');
const resourceOpaque = env('RESOURCE_OPAQUE', 'https://carrier.test/opaque');
const fapi = env('FAPI', ''); // '' | 2.0
const secret = env('CLIENT_SECRET', 'sEcReTmArKeR-horse-battery-staple-0123456789');
const scope = 'ship:write ship:read';
const mount = env('AS_PATH', ''); // '' or /some/path: the path of the issuer
const rfc8414 = env('AS_RFC8414', '1') !== '0';
if (!['required', 'optional', 'off'].includes(nonceMode)) throw new Error('DPOP_NONCE must be required, optional or off');
if (!/^(\/[A-Za-z0-9._-]+)*$/.test(mount)) throw new Error('AS_PATH must be empty or a path without a slash at its end');

const tls = { key: read('server.key'), cert: read('server.pem') };
const main = useTls ? https.createServer(tls) : http.createServer();
const mtls = https.createServer({ ...tls, ca: read('ca.pem'), requestCert: true, rejectUnauthorized: false });
const listen = (server, port) => new Promise((ok, no) => {
  server.once('error', no);
  server.listen(Number(port), HOST, () => ok(server.address().port));
});
const port = await listen(main, env('AS_PORT', '0'));
const mtlsPort = await listen(mtls, env('AS_MTLS_PORT', '0'));
const issuer = `${useTls ? 'https' : 'http'}://${HOST}:${port}${mount}`;
const mtlsBase = `https://${HOST}:${mtlsPort}${mount}`;

const signing = await generateKeyPair('ES256', { extractable: true });
const jwks = { keys: [{ ...(await exportJWK(signing.privateKey)), alg: 'ES256', use: 'sig', kid: 'as-es256-1' }] };

const { d, ...pkjwtPublic } = JSON.parse(env('PKJWT_JWK_FILE') ? fs.readFileSync(env('PKJWT_JWK_FILE'), 'utf8') : read('pkjwt.jwk.json'));
const selfCert = new crypto.X509Certificate(env('SELF_CERT_FILE') ? fs.readFileSync(env('SELF_CERT_FILE')) : read('client-self.pem'));
const selfJwk = {
  ...selfCert.publicKey.export({ format: 'jwk' }), kid: 'client-self-1',
  x5c: [selfCert.raw.toString('base64')],
  'x5t#S256': crypto.createHash('sha256').update(selfCert.raw).digest('base64url'),
};

const cc = { grant_types: ['client_credentials'], redirect_uris: [], response_types: [], scope };
const clients = [
  { client_id: 'basic', client_secret: secret, token_endpoint_auth_method: 'client_secret_basic', ...cc },
  { client_id: 'post', client_secret: secret, token_endpoint_auth_method: 'client_secret_post', ...cc },
  { client_id: 'pkjwt', token_endpoint_auth_method: 'private_key_jwt', token_endpoint_auth_signing_alg: 'ES256', jwks: { keys: [pkjwtPublic] }, ...cc },
  { client_id: 'dpop-only', client_secret: secret, token_endpoint_auth_method: 'client_secret_basic', dpop_bound_access_tokens: true, ...cc },
  { client_id: 'pkjwt-dpop', token_endpoint_auth_method: 'private_key_jwt', token_endpoint_auth_signing_alg: 'ES256', jwks: { keys: [pkjwtPublic] }, dpop_bound_access_tokens: true, ...cc },
  { client_id: 'tls-ca', token_endpoint_auth_method: 'tls_client_auth', tls_client_auth_san_dns: 'client-ca.test', tls_client_certificate_bound_access_tokens: true, ...cc },
  { client_id: 'tls-dn', token_endpoint_auth_method: 'tls_client_auth', tls_client_auth_subject_dn: 'CN=client-ca', tls_client_certificate_bound_access_tokens: true, ...cc },
  { client_id: 'tls-self', token_endpoint_auth_method: 'self_signed_tls_client_auth', jwks: { keys: [selfJwk] }, tls_client_certificate_bound_access_tokens: true, ...cc },
  { client_id: 'basic-mtls-bound', client_secret: secret, token_endpoint_auth_method: 'client_secret_basic', tls_client_certificate_bound_access_tokens: true, ...cc },
  { client_id: 'rs', client_secret: secret, token_endpoint_auth_method: 'client_secret_basic', ...cc, grant_types: [] },
  { client_id: 'par', client_secret: secret, token_endpoint_auth_method: 'client_secret_basic', grant_types: ['authorization_code'], response_types: ['code'], redirect_uris: ['https://client.test/cb'], scope: `openid ${scope}` },
];

const certOf = (ctx) => ctx.socket.getPeerX509Certificate?.();

const trace = env('AS_TRACE', '0') === '1' ? (...a) => console.error(...a) : () => {};
const log = openLog(env('AS_LOG_FILE'));
const contexts = new WeakMap(); // request -> context of the provider, for the log

// One store for every Provider instance of this process, so that a nonce rotation keeps tokens and replay records.
const store = new Map();
class Store {
  constructor(model) { this.model = model; }
  key(id) { return `${this.model}:${id}`; }
  async upsert(id, payload, expiresIn) { store.set(this.key(id), { payload, until: expiresIn ? Date.now() + expiresIn * 1000 : Infinity }); }
  async find(id) {
    const hit = store.get(this.key(id));
    if (hit && hit.until > Date.now()) return hit.payload;
    store.delete(this.key(id));
    return undefined;
  }
  async findByUid() { return undefined; }
  async findByUserCode() { return undefined; }
  async consume(id) { const hit = store.get(this.key(id)); if (hit) hit.payload.consumed = Math.floor(Date.now() / 1000); }
  async destroy(id) { store.delete(this.key(id)); }
  async revokeByGrantId() {}
}

function makeHandler() {
  const nonceSecret = nonceMode === 'off' ? undefined : crypto.randomBytes(32);
  const endpoint = (p) => mtlsBase + p;
  const provider = new Provider(issuer, {
    adapter: Store,
    clients,
    jwks,
    scopes: ['openid', 'ship:write', 'ship:read'],
    clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt', 'tls_client_auth', 'self_signed_tls_client_auth'],
    clientDefaults: { id_token_signed_response_alg: 'ES256' },
    enabledJWA: { dPoPSigningAlgValues: env('DPOP_ALGS', 'ES256,Ed25519,EdDSA,PS256').split(',') },
    ttl: { ClientCredentials: tokenTtl, AccessToken: tokenTtl },
    discovery: {
      mtls_endpoint_aliases: {
        token_endpoint: endpoint('/token'),
        introspection_endpoint: endpoint('/token/introspection'),
        revocation_endpoint: endpoint('/token/revocation'),
        pushed_authorization_request_endpoint: endpoint('/request'),
      },
    },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: { enabled: true },
      revocation: { enabled: true },
      pushedAuthorizationRequests: { enabled: true },
      dPoP: { enabled: true, nonceSecret, requireNonce: () => nonceMode === 'required' },
      fapi: fapi ? { enabled: true, profile: fapi } : { enabled: false },
      mTLS: {
        enabled: true,
        certificateBoundAccessTokens: true,
        tlsClientAuth: true,
        selfSignedTlsClientAuth: true,
        getCertificate: (ctx) => certOf(ctx)?.toString(),
        certificateAuthorized: (ctx) => ctx.socket.authorized === true,
        certificateSubjectMatches(ctx, property, expected) {
          const cert = certOf(ctx);
          switch (property) {
            case 'tls_client_auth_san_dns':
              return (cert.subjectAltName ?? '').split(', ').includes(`DNS:${expected}`);
            case 'tls_client_auth_subject_dn':
              return cert.subject.split('\n').reverse().join(',') === expected;
            default:
              return false;
          }
        },
      },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => resourceJwt,
        useGrantedResource: () => true,
        getResourceServerInfo(ctx, indicator) {
          if (indicator === resourceJwt) {
            return { scope, audience: indicator, accessTokenFormat: 'jwt', accessTokenTTL: tokenTtl, jwt: { sign: { alg: 'ES256' } } };
          }
          if (indicator === resourceOpaque) {
            return { scope, audience: indicator, accessTokenFormat: 'opaque', accessTokenTTL: tokenTtl };
          }
          throw new errors.InvalidTarget('unknown resource');
        },
      },
    },
  });
  provider.use((ctx, next) => { contexts.set(ctx.req, ctx); return next(); });
  provider.on('server_error', (ctx, err) => console.error('server_error', err));
  for (const e of ['grant.error', 'introspection.error', 'revocation.error', 'pushed_authorization_request.error']) {
    provider.on(e, (ctx, err) => trace(e, ctx.path, err.statusCode, err.error, err.error_description, err.error_detail ?? err.cause?.message ?? ''));
  }
  return provider.callback();
}

// What the log says about a request: the claims of proof and assertion as sent, and the answer.
function entryOf(req, res, pathname, proof) {
  const { oidc, body: answer } = contexts.get(req) ?? {};
  const sent = oidc?.body ?? {};
  const authorization = req.headers.authorization ?? '';
  const basic = /^basic /i.test(authorization) ? Buffer.from(authorization.slice(6), 'base64').toString().split(':')[0] : undefined;
  const assertion = claimsOf(sent.client_assertion);
  return {
    method: req.method, path: pathname, status: res.statusCode, error: clip(answer?.error),
    client_id: clip(oidc?.client?.clientId ?? sent.client_id ?? basic ?? assertion.sub),
    grant: clip(sent.grant_type), scope: clip(sent.scope), resource: clip(sent.resource), token_type: clip(answer?.token_type),
    ...proof, assertion_jti: clip(assertion.jti), assertion_aud: assertion.aud ?? null, cert_x5t: x5tOf(req.socket),
    next_nonce: clip(res.getHeader('dpop-nonce')),
  };
}

let handler = makeHandler();
const OIDC = '/.well-known/openid-configuration';
async function serve(req, res) {
  const { pathname } = new URL(req.url, issuer);
  if (pathname === '/log') {
    res.writeHead(200, { 'content-type': 'application/json' });
    res.end(JSON.stringify(log.records()));
    return;
  }
  const proof = await proofFields(req.headers.dpop);
  beforeEnd(res, () => log.record(entryOf(req, res, pathname, proof)));
  // RFC 8414 3.1 puts the well-known part before the path of the issuer, OpenID Connect Discovery after it.
  if (pathname === `/.well-known/oauth-authorization-server${mount}`) {
    if (!rfc8414) { res.writeHead(404); res.end(); return; }
    req.url = mount + OIDC;
  }
  if (mount) {
    if (!req.url.startsWith(`${mount}/`)) { res.writeHead(404); res.end(); return; }
    req.originalUrl = req.url;
    req.url = req.url.slice(mount.length);
  }
  handler(req, res);
}
for (const server of [main, mtls]) server.on('request', serve);
// A new nonce secret: every DPoP nonce handed out so far stops being accepted.
process.on('SIGUSR2', () => { handler = makeHandler(); console.log('ROTATED'); });
const stop = () => {
  for (const server of [main, mtls]) { server.close(); server.closeAllConnections(); }
  if (ownState) fs.rmSync(ownState, { recursive: true, force: true });
  process.exit(0);
};
process.on('SIGTERM', stop);
process.on('SIGINT', stop);
if (env('EXIT_WITH_STDIN', '0') === '1') process.stdin.on('end', stop).resume(); // so that nobody outlives a test that was killed
console.log('READY ' + JSON.stringify({
  role: 'as', issuer, mtls: mtlsBase, port, mtlsPort, stateDir, nonceMode, fapi, resource: resourceJwt, resourceOpaque, pid: process.pid,
}));
