// Authorization server: the npm package oidc-provider, configured for client_credentials and authorization_code
// with DPoP and mTLS. See README.md for the environment variables, clients and endpoints.
import * as fs from 'node:fs';
import * as http from 'node:http';
import * as https from 'node:https';
import * as os from 'node:os';
import * as path from 'node:path';
import * as crypto from 'node:crypto';
import { exportJWK, generateKeyPair } from 'jose';
import Provider, { errors } from 'oidc-provider';
import { certificateOf, certificateTrusted, x5tOf } from './certificate.mjs';
import { clientsWith, SCOPE as scope } from './clients.mjs';
import { interact } from './interactions.mjs';
import { beforeEnd, claimsOf, clip, connectionOf, logHandshakes, openLog, proofFields } from './log.mjs';
import { startNginx } from './nginx.mjs';
import { ensurePki } from './pki.mjs';
import { Store } from './store.mjs';

const env = (name, fallback) => process.env[name] || fallback;
const HOST = '127.0.0.1';
const ownState = env('STATE_DIR') ? undefined : fs.mkdtempSync(path.join(os.tmpdir(), 'test-peers-')); // removed when this stops
const stateDir = await ensurePki(env('STATE_DIR') ?? ownState);
const read = (name) => fs.readFileSync(path.join(stateDir, name), 'utf8');

const behindNginx = env('AS_NGINX', '0') === '1';
const useTls = env('AS_TLS', '1') !== '0' && !behindNginx;
const nonceMode = env('DPOP_NONCE', 'required'); // required | optional | off
const tokenTtl = Number(env('TOKEN_TTL', '300'));
const resourceJwt = env('RESOURCE', 'https://carrier.test/api');
const resourceOpaque = env('RESOURCE_OPAQUE', 'https://carrier.test/opaque');
const fapi = env('FAPI', ''); // '' | 2.0
const secret = env('CLIENT_SECRET', 'sEcReTmArKeR-horse-battery-staple-0123456789');
const mount = env('AS_PATH', ''); // '' or /some/path: the path of the issuer
const rfc8414 = env('AS_RFC8414', '1') !== '0';
const consent = env('CONSENT', 'allow'); // allow | deny | ask
const refresh = env('REFRESH', 'always'); // always | offline_access
const rotateRefresh = env('ROTATE_REFRESH', '1') !== '0';
if (!['required', 'optional', 'off'].includes(nonceMode)) throw new Error('DPOP_NONCE must be required, optional or off');
if (!['allow', 'deny', 'ask'].includes(consent)) throw new Error('CONSENT must be allow, deny or ask');
if (!['always', 'offline_access'].includes(refresh)) throw new Error('REFRESH must be always or offline_access');
if (!/^(\/[A-Za-z0-9._-]+)*$/.test(mount)) throw new Error('AS_PATH must be empty or a path without a slash at its end');

const log = openLog(env('AS_LOG_FILE'));
const tls = { key: read('server.key'), cert: read('server.pem') };
const main = useTls ? https.createServer(tls) : http.createServer();
// Behind nginx there is one listener: nginx says which of its two ports was asked.
const mtls = behindNginx ? undefined : https.createServer({ ...tls, ca: read('ca.pem'), requestCert: true, rejectUnauthorized: false });
const servers = mtls ? [main, mtls] : [main];
const listen = (server, port) => new Promise((ok, no) => {
  server.once('error', no);
  server.listen(Number(port), HOST, () => ok(server.address().port));
});
if (useTls) logHandshakes(main, 'main', log);
if (mtls) logHandshakes(mtls, 'mtls', log);
const ownPort = await listen(main, env('AS_PORT', '0'));
const nginx = behindNginx ? await startNginx(stateDir, ownPort) : undefined;
const port = nginx ? nginx.port : ownPort;
const mtlsPort = nginx ? nginx.mtlsPort : await listen(mtls, env('AS_MTLS_PORT', '0'));
const issuer = `${useTls || behindNginx ? 'https' : 'http'}://${HOST}:${port}${mount}`;
const mtlsBase = `https://${HOST}:${mtlsPort}${mount}`;

const signing = await generateKeyPair('ES256', { extractable: true });
const jwks = { keys: [{ ...(await exportJWK(signing.privateKey)), alg: 'ES256', use: 'sig', kid: 'as-es256-1' }] };

const fileOr = (name, fallback) => (env(name) ? fs.readFileSync(env(name), 'utf8') : read(fallback));
const clients = clientsWith({
  secret,
  jwk: JSON.parse(fileOr('PKJWT_JWK_FILE', 'pkjwt.jwk.json')),
  certificate: fileOr('SELF_CERT_FILE', 'client-self.pem'),
  redirectUris: env('REDIRECT_URIS', 'https://client.test/cb').split(','),
});

const certOf = (ctx) => certificateOf(ctx.req, behindNginx);

const trace = env('AS_TRACE', '0') === '1' ? (...a) => console.error(...a) : () => {};
const contexts = new WeakMap(); // request -> context of the provider, for the log

const cookieKeys = [crypto.randomBytes(32).toString('base64url')];
function makeProvider() {
  const nonceSecret = nonceMode === 'off' ? undefined : crypto.randomBytes(32);
  const endpoint = (p) => mtlsBase + p;
  const provider = new Provider(issuer, {
    adapter: Store,
    clients,
    jwks,
    scopes: ['openid', 'offline_access', 'ship:write', 'ship:read'],
    clientAuthMethods: ['none', 'client_secret_basic', 'client_secret_post', 'private_key_jwt', 'tls_client_auth', 'self_signed_tls_client_auth'],
    clientDefaults: { id_token_signed_response_alg: 'ES256' },
    enabledJWA: { dPoPSigningAlgValues: env('DPOP_ALGS', 'ES256,Ed25519,EdDSA,PS256').split(',') },
    ttl: { ClientCredentials: tokenTtl, AccessToken: tokenTtl, AuthorizationCode: 60, Grant: 3600, Interaction: 600, RefreshToken: 3600, Session: 3600 },
    cookies: { keys: cookieKeys },
    interactions: { url: (ctx, { uid }) => `${mount}/interaction/${uid}` },
    findAccount: (ctx, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
    issueRefreshToken: (ctx, client, source) => client.grantTypeAllowed('refresh_token') && (refresh === 'always' || source.scopes.has('offline_access')),
    rotateRefreshToken: () => rotateRefresh,
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
        certificateAuthorized: (ctx) => certificateTrusted(ctx.req, behindNginx),
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
  provider.proxy = behindNginx;
  provider.use((ctx, next) => { contexts.set(ctx.req, ctx); return next(); });
  provider.on('server_error', (ctx, err) => console.error('server_error', err));
  for (const e of ['grant.error', 'introspection.error', 'revocation.error', 'pushed_authorization_request.error']) {
    provider.on(e, (ctx, err) => trace(e, ctx.path, err.statusCode, err.error, err.error_description, err.error_detail ?? err.cause?.message ?? ''));
  }
  return { provider, handler: provider.callback() };
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
    grant: clip(sent.grant_type), scope: clip(sent.scope), resource: clip(sent.resource), dpop_jkt: clip(sent.dpop_jkt), token_type: clip(answer?.token_type),
    ...proof, assertion_jti: clip(assertion.jti), assertion_aud: assertion.aud ?? null, cert_x5t: x5tOf(certificateOf(req, behindNginx)),
    next_nonce: clip(res.getHeader('dpop-nonce')), connection: connectionOf(req.socket),
  };
}

let { provider, handler } = makeProvider();
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
  if (!await interact(provider, consent, [resourceJwt, resourceOpaque], req, res)) handler(req, res);
}
for (const server of servers) server.on('request', serve);
// A new nonce secret: every DPoP nonce handed out so far stops being accepted.
process.on('SIGUSR2', () => { ({ provider, handler } = makeProvider()); console.log('ROTATED'); });
const stop = async () => {
  for (const server of servers) { server.close(); server.closeAllConnections(); }
  await nginx?.stop();
  if (ownState) fs.rmSync(ownState, { recursive: true, force: true });
  process.exit(0);
};
process.on('SIGTERM', stop);
process.on('SIGINT', stop);
if (env('EXIT_WITH_STDIN', '0') === '1') process.stdin.on('end', stop).resume(); // so that nobody outlives a test that was killed
console.log('READY ' + JSON.stringify({
  role: 'as', issuer, mtls: mtlsBase, port, mtlsPort, stateDir, nonceMode, fapi, resource: resourceJwt, resourceOpaque, pid: process.pid,
}));
