// Resource server: a mock carrier endpoint (POST /ship/v1/shipments) whose access-token, DPoP and
// certificate checks are made by a third-party library. See README.md.
//   RS_ENGINE=oauth4webapi   validateJwtAccessToken of the npm package oauth4webapi (DPoP only)
//   RS_ENGINE=auth0          the npm package express-oauth2-jwt-bearer (DPoP and x5t#S256)
// Those two leave the jti replay store and server nonces to the application: they are in this file.
import * as crypto from 'node:crypto';
import * as fs from 'node:fs';
import * as http from 'node:http';
import * as https from 'node:https';
import * as path from 'node:path';
import express from 'express';
import auth0 from 'express-oauth2-jwt-bearer';
import { calculateJwkThumbprint, createRemoteJWKSet, customFetch as joseFetch, decodeJwt, decodeProtectedHeader, jwtVerify } from 'jose';
import * as oauth from 'oauth4webapi';
import { Agent, fetch as undiciFetch } from 'undici';
import { certificateOf, x5tOf } from './certificate.mjs';
import { athMatches, beforeEnd, claimsOf, clip, connectionOf, logHandshakes, openLog, proofFields } from './log.mjs';
import { startNginx } from './nginx.mjs';

const env = (name, fallback) => process.env[name] || fallback;
const must = (name) => { if (!process.env[name]) throw new Error(`${name} is required`); return process.env[name]; };
const HOST = '127.0.0.1';
const stateDir = must('STATE_DIR');
const issuer = must('ISSUER');
const audience = env('RESOURCE', 'https://carrier.test/api');
const engine = env('RS_ENGINE', 'oauth4webapi');
const binding = env('RS_BINDING', 'dpop'); // dpop | mtls | any
const nonceMode = env('RS_NONCE', 'off'); // off | required | every
const behindNginx = env('RS_NGINX', '0') === '1';
const useTls = env('RS_TLS', '1') !== '0' && !behindNginx;
const ALGS = 'ES256 Ed25519 EdDSA PS256';
const REPLAY_KEEP_S = 700;
if (!['oauth4webapi', 'auth0'].includes(engine)) throw new Error('RS_ENGINE must be oauth4webapi or auth0');
if (!['dpop', 'mtls', 'any'].includes(binding)) throw new Error('RS_BINDING must be dpop, mtls or any');
if (!['off', 'required', 'every'].includes(nonceMode)) throw new Error('RS_NONCE must be off, required or every');
if (engine === 'oauth4webapi' && binding === 'mtls') throw new Error('oauth4webapi does not check x5t#S256: use RS_ENGINE=auth0');

const read = (name) => fs.readFileSync(path.join(stateDir, name), 'utf8');
const ca = read('ca.pem');
const dispatcher = new Agent({ connect: { ca } });
const trustingFetch = (url, init) => undiciFetch(url, { ...init, dispatcher });

const app = express();
app.disable('x-powered-by');
if (behindNginx) app.set('trust proxy', 'loopback');
const server = useTls
  ? https.createServer({ key: read('server.key'), cert: read('server.pem'), ca, requestCert: true, rejectUnauthorized: false }, app)
  : http.createServer(app);
const log = openLog(env('RS_LOG_FILE'));
if (useTls) logHandshakes(server, 'mtls', log);
await new Promise((ok, no) => { server.once('error', no); server.listen(Number(env('RS_PORT', '0')), HOST, ok); });
const nginx = behindNginx ? await startNginx(stateDir, server.address().port, env('RS_NGINX_VERIFY')) : undefined;
const port = nginx ? nginx.mtlsPort : server.address().port;
const base = env('RS_BASE', `${useTls || behindNginx ? 'https' : 'http'}://${HOST}:${port}`);

const as = await oauth.processDiscoveryResponse(new URL(issuer), await oauth.discoveryRequest(new URL(issuer), {
  algorithm: 'oidc', [oauth.customFetch]: trustingFetch, [oauth.allowInsecureRequests]: !issuer.startsWith('https:'),
}));

class Reject extends Error {
  constructor(status, error, description, scheme) {
    super(description);
    Object.assign(this, { status, error, scheme });
  }
}
const stats = { requests: 0, created: 0, rejected: 0, byError: {} };

// --- who checks the token and the proof ------------------------------------------------------
const jwksSet = createRemoteJWKSet(new URL(as.jwks_uri), { [joseFetch]: trustingFetch });
async function withOauth4webapi(req, res, next) {
  const header = req.get('authorization');
  if (!header) throw new Reject(401);
  const [scheme, token] = header.split(/ +/);
  if (!/^(dpop|bearer)$/i.test(scheme) || !token) throw new Reject(400, 'invalid_request', 'unsupported Authorization header', scheme);
  let claims;
  try {
    // Only to tell a bad token (invalid_token) from a bad proof (invalid_dpop_proof) below.
    ({ payload: claims } = await jwtVerify(token, jwksSet, { issuer, audience, typ: 'at+jwt', algorithms: ['ES256'] }));
  } catch (cause) {
    throw new Reject(401, 'invalid_token', cause.message, scheme);
  }
  if (claims.cnf?.jkt && /^bearer$/i.test(scheme)) {
    throw new Reject(401, 'invalid_token', 'DPoP-bound token presented with the Bearer scheme', scheme);
  }
  const request = new Request(new URL(req.originalUrl, base), { method: req.method, headers: req.headers });
  try {
    const options = { requireDPoP: binding === 'dpop', signingAlgorithms: ALGS.split(' '), [oauth.customFetch]: trustingFetch, [oauth.allowInsecureRequests]: !as.jwks_uri.startsWith('https:') };
    req.claims = await oauth.validateJwtAccessToken(as, request, audience, options);
  } catch (cause) {
    if (!(cause instanceof oauth.OperationProcessingError || cause instanceof oauth.UnsupportedOperationError)) throw cause;
    const aboutToken = /confirmation|Confirmation|no jkt/.test(cause.message);
    throw new Reject(401, aboutToken ? 'invalid_token' : 'invalid_dpop_proof', cause.message, scheme);
  }
  next();
}
const withAuth0 = engine === 'auth0' && auth0.auth({
  issuer, audience, jwksUri: as.jwks_uri, tokenSigningAlg: 'ES256', strict: true,
  ...(issuer.startsWith('https:') ? { agent: new https.Agent({ ca }) } : {}),
  dpop: { enabled: binding !== 'mtls', required: binding === 'dpop' },
  ...(binding !== 'dpop' ? {
    getCertificate: (req) => certificateOf(req, behindNginx)?.raw,
    mtls: { enabled: true, required: binding === 'mtls' },
  } : {}),
});

// --- what the libraries leave to the application: replay and nonces --------------------------
const seen = new Map();
let nonce = crypto.randomBytes(16).toString('base64url');
const rotate = () => { nonce = crypto.randomBytes(16).toString('base64url'); };
async function replayAndNonce(req, res, next) {
  const proof = req.get('dpop');
  if (proof === undefined) return next();
  const claims = decodeJwt(proof); // its signature has been verified by then
  // Awaited before anything is looked at: from here to the rotation nothing else runs, so a nonce is spent once.
  const key = `${await calculateJwkThumbprint(decodeProtectedHeader(proof).jwk)} ${claims.jti}`;
  if (nonceMode !== 'off' && claims.nonce !== nonce) {
    throw new Reject(401, 'use_dpop_nonce', claims.nonce === undefined ? 'nonce required' : 'nonce not accepted', 'DPoP');
  }
  const now = Date.now() / 1000;
  for (const [k, until] of seen) if (until < now) seen.delete(k); else break;
  if (seen.has(key)) throw new Reject(401, 'invalid_dpop_proof', 'DPoP proof jti was used before', 'DPoP');
  seen.set(key, now + REPLAY_KEEP_S);
  if (nonceMode === 'every') rotate();
  if (nonceMode !== 'off') res.set('DPoP-Nonce', nonce);
  next();
}
const scopeOf = (wanted) => (req, res, next) => {
  const claims = req.claims ?? req.auth.payload;
  if (!(claims.scope ?? '').split(' ').includes(wanted)) throw new Reject(403, 'insufficient_scope', `${wanted} is needed`, claims.cnf?.jkt ? 'DPoP' : 'Bearer');
  req.claims = claims;
  next();
};

// --- what tests read -----------------------------------------------------------------------------
async function logged(req, res, next) {
  stats.requests += 1;
  const proof = req.get('dpop');
  const [scheme, token] = (req.get('authorization') ?? '').split(/ +/);
  const claims = claimsOf(token);
  const entry = {
    method: req.method, path: req.originalUrl.split('?')[0], status: 0, error: null, scheme: clip(scheme) || null,
    client_id: clip(claims.client_id), cnf_jkt: clip(claims.cnf?.jkt), cnf_x5t: clip(claims.cnf?.['x5t#S256']),
    ...await proofFields(proof), ath_ok: proof !== undefined && token !== undefined && athMatches(proof, token), cert_x5t: x5tOf(certificateOf(req, behindNginx)), connection: connectionOf(req.socket),
  };
  beforeEnd(res, () => log.record({ ...entry, status: res.statusCode, error: clip(res.locals.error), next_nonce: clip(res.get('dpop-nonce')) }));
  next();
}

// --- the carrier -------------------------------------------------------------------------------
const shipments = new Map();
app.get('/stats', (req, res) => res.json({ ...stats, jtis: seen.size }));
app.get('/log', (req, res) => res.json(log.records()));
app.use('/ship', logged, withAuth0 || withOauth4webapi, replayAndNonce);
app.post('/ship/v1/shipments', scopeOf('ship:write'), express.json({ limit: '64kb' }), (req, res) => {
  if (typeof req.body !== 'object' || req.body === null) throw new Reject(415, 'unsupported_media_type', 'a JSON object is needed');
  const id = `S${String(shipments.size + 1).padStart(8, '0')}`;
  const shipment = { shipmentId: id, trackingNumber: `1Z${id}`, client: req.claims.client_id, cnf: req.claims.cnf ?? null, request: req.body };
  shipments.set(id, shipment);
  stats.created += 1;
  res.status(201).location(`/ship/v1/shipments/${id}`).json(shipment);
});
app.get('/ship/v1/shipments/:id', scopeOf('ship:read'), (req, res) => {
  const hit = shipments.get(req.params.id);
  if (!hit) throw new Reject(404, 'not_found', 'no such shipment');
  res.json(hit);
});
app.use((err, req, res, next) => {
  const status = err.status ?? 500;
  const error = err.error || err.code || undefined;
  stats.rejected += 1;
  res.locals.error = error;
  stats.byError[error ?? 'none'] = (stats.byError[error ?? 'none'] ?? 0) + 1;
  if (status >= 500) console.error(err);
  if (nonceMode !== 'off' && status === 401) res.set('DPoP-Nonce', nonce);
  if (err.headers) res.set(err.headers); // express-oauth2-jwt-bearer writes its own challenge
  else if (status === 401 || status === 403) {
    const quote = (s) => String(s).replace(/["\\]/g, "'");
    const detail = error ? `error="${error}", error_description="${quote(err.message)}", ` : '';
    if (/^bearer$/i.test(err.scheme ?? '')) res.set('WWW-Authenticate', [`Bearer ${detail.replace(/, $/, '')}`, `DPoP algs="${ALGS}"`]);
    else res.set('WWW-Authenticate', `DPoP ${detail}algs="${ALGS}"`);
  }
  res.status(status).json(error ? { error, error_description: err.message } : {}); // RFC 6750 3.1: no code without credentials
});

process.on('SIGUSR2', () => { rotate(); console.log('ROTATED'); });
const stop = async () => { server.close(); server.closeAllConnections(); await nginx?.stop(); process.exit(0); };
process.on('SIGTERM', stop);
process.on('SIGINT', stop);
if (env('EXIT_WITH_STDIN', '0') === '1') process.stdin.on('end', stop).resume(); // so that nobody outlives a test that was killed
console.log('READY ' + JSON.stringify({ role: 'rs', base, port, engine, binding, nonceMode, audience, issuer, pid: process.pid }));
