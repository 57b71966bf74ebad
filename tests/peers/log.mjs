// What a server saw, for tests to read: one JSON object a request, kept in memory for GET /log (the newest 10 000) and
// appended to a file if one is named. The file also has an object for each TLS handshake. A record is complete before its answer leaves, so whoever has the answer can read it.
// Tokens, proofs, secrets and assertions are never recorded; only what is written out here is.
import * as crypto from 'node:crypto';
import * as fs from 'node:fs';
import { calculateJwkThumbprint, decodeJwt, decodeProtectedHeader } from 'jose';
import { certificateOf, certificateTrusted, x5tOf } from './certificate.mjs';

const KEEP = 10_000;
const CLIP = 512; // characters of any text that came from outside

export const clip = (value) => (typeof value === 'string' ? value.slice(0, CLIP) : null);
const attempt = (read) => { try { return read(); } catch { return undefined; } };
export const claimsOf = (jwt) => (typeof jwt === 'string' ? attempt(() => decodeJwt(jwt)) ?? {} : {});

// The claims of a DPoP header as sent, checked by nobody at this point.
export async function proofFields(proof) {
  if (proof === undefined) return { proof: false, proof_jkt: null, jti: null, nonce: null, htm: null, htu: null, iat: null, ath: false };
  const { jti, nonce, htm, htu, iat, ath } = claimsOf(proof);
  const { jwk } = attempt(() => decodeProtectedHeader(proof)) ?? {};
  const jkt = jwk && await calculateJwkThumbprint(jwk).catch(() => undefined);
  return {
    proof: true, proof_jkt: jkt ?? null, jti: clip(jti), nonce: clip(nonce), htm: clip(htm), htu: clip(htu),
    iat: Number.isFinite(iat) ? iat : null, ath: ath !== undefined,
  };
}
export const athMatches = (proof, token) => claimsOf(proof).ath === crypto.createHash('sha256').update(token).digest('base64url');
// `file` is optional. `record` stores an object, `records` gives all that are stored, `note` writes one to the file only.
export function openLog(file) {
  const kept = [];
  const note = (entry) => { if (file) fs.appendFileSync(file, JSON.stringify(entry) + '\n'); };
  if (file) fs.writeFileSync(file, '', { flag: 'a' });
  return {
    note,
    records: () => kept,
    record(entry) {
      if (kept.push(entry) > KEEP) kept.shift();
      note(entry);
    },
  };
}

const connections = new WeakMap(); // TLS socket -> its number
let lastConnection = 0;
// The number of a TLS connection in the process, counted from 1 by finished handshakes.
export const connectionOf = (socket) => connections.get(socket) ?? null;

// Writes a line for every handshake of a server, the failed ones too. It is there before any request of the connection.
export function logHandshakes(server, listener, log) {
  server.prependListener('secureConnection', (socket) => {
    const req = { socket };
    connections.set(socket, lastConnection += 1);
    log.note({
      kind: 'tls', listener, connection: lastConnection, resumed: socket.isSessionReused(), protocol: socket.getProtocol(),
      cert_x5t: x5tOf(certificateOf(req, false)), cert_trusted: certificateTrusted(req, false), error: null,
    });
  });
  server.on('tlsClientError', (cause) => {
    log.note({ kind: 'tls', listener, connection: null, resumed: false, protocol: null, cert_x5t: null, cert_trusted: false, error: cause.code ?? null });
  });
}

// Calls `write` once, before the last byte of the answer is handed over.
export function beforeEnd(res, write) {
  const end = res.end;
  res.end = function last(...args) { res.end = end; write(); return end.apply(this, args); };
}
