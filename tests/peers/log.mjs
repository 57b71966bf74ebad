// What a server saw, for tests to read: one JSON object a request, kept in memory for GET /log (the newest 10 000) and
// appended to a file if one is named. A record is complete before its answer leaves, so whoever has the answer can read it.
// Tokens, proofs, secrets and assertions are never recorded; only what is written out here is.
import * as crypto from 'node:crypto';
import * as fs from 'node:fs';
import { calculateJwkThumbprint, decodeJwt, decodeProtectedHeader } from 'jose';

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
export const x5tOf = (socket) => {
  const cert = socket.getPeerX509Certificate?.();
  return cert ? crypto.createHash('sha256').update(cert.raw).digest('base64url') : null;
};

// `file` is optional. The answer is a pair: `record` stores an object, `records` gives all that are kept.
export function openLog(file) {
  const kept = [];
  if (file) fs.writeFileSync(file, '', { flag: 'a' });
  return {
    records: () => kept,
    record(entry) {
      if (kept.push(entry) > KEEP) kept.shift();
      if (file) fs.appendFileSync(file, JSON.stringify(entry) + '\n');
    },
  };
}

// Calls `write` once, before the last byte of the answer is handed over.
export function beforeEnd(res, write) {
  const end = res.end;
  res.end = function last(...args) { res.end = end; write(); return end.apply(this, args); };
}
