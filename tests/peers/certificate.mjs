// The client certificate of a request: that of its TLS connection or, behind nginx, that of the header which nginx sets
// whatever the client sent. Without nginx in front the header means nothing.
import * as crypto from 'node:crypto';

export function certificateOf(req, behindNginx) {
  if (!behindNginx) return req.socket.getPeerX509Certificate?.();
  const escaped = req.headers['x-ssl-client-cert'];
  return escaped ? new crypto.X509Certificate(decodeURIComponent(escaped)) : undefined;
}

// Whether it chains to the CA. Node calls a resumed TLS 1.3 connection without any certificate "authorized".
export function certificateTrusted(req, behindNginx) {
  if (behindNginx) return req.headers['x-ssl-client-verify'] === 'SUCCESS';
  return req.socket.authorized === true && certificateOf(req, false) !== undefined;
}

export const x5tOf = (certificate) => (certificate ? crypto.createHash('sha256').update(certificate.raw).digest('base64url') : null);
