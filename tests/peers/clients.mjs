// The clients that as.mjs knows. README.md lists them.
import * as crypto from 'node:crypto';

export const SCOPE = 'ship:write ship:read';

// `jwk`: of private_key_jwt, the private members are left out. `certificate`: PEM of the client with a self-signed one.
export function clientsWith({ secret, jwk: { d, ...pkjwtPublic }, certificate, redirectUris }) {
  const selfCert = new crypto.X509Certificate(certificate);
  const selfJwk = {
    ...selfCert.publicKey.export({ format: 'jwk' }), kid: 'client-self-1',
    x5c: [selfCert.raw.toString('base64')],
    'x5t#S256': crypto.createHash('sha256').update(selfCert.raw).digest('base64url'),
  };
  const basic = { client_secret: secret, token_endpoint_auth_method: 'client_secret_basic' };
  const pkjwt = { token_endpoint_auth_method: 'private_key_jwt', token_endpoint_auth_signing_alg: 'ES256', jwks: { keys: [pkjwtPublic] } };
  const byName = { token_endpoint_auth_method: 'tls_client_auth', tls_client_auth_san_dns: 'client-ca.test' };
  const certificateBound = { tls_client_certificate_bound_access_tokens: true };
  const dpopBound = { dpop_bound_access_tokens: true };
  const cc = { grant_types: ['client_credentials'], redirect_uris: [], response_types: [], scope: SCOPE };
  const code = {
    grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'], redirect_uris: redirectUris,
    scope: `openid offline_access ${SCOPE}`,
  };
  return [
    { client_id: 'basic', ...basic, ...cc },
    { client_id: 'post', ...basic, token_endpoint_auth_method: 'client_secret_post', ...cc },
    { client_id: 'pkjwt', ...pkjwt, ...cc },
    { client_id: 'dpop-only', ...basic, ...dpopBound, ...cc },
    { client_id: 'pkjwt-dpop', ...pkjwt, ...dpopBound, ...cc },
    { client_id: 'tls-ca', ...byName, ...certificateBound, ...cc },
    { client_id: 'tls-dn', token_endpoint_auth_method: 'tls_client_auth', tls_client_auth_subject_dn: 'CN=client-ca', ...certificateBound, ...cc },
    { client_id: 'tls-self', token_endpoint_auth_method: 'self_signed_tls_client_auth', jwks: { keys: [selfJwk] }, ...certificateBound, ...cc },
    { client_id: 'basic-mtls-bound', ...basic, ...certificateBound, ...cc },
    { client_id: 'rs', ...basic, ...cc, grant_types: [] },
    { client_id: 'par', ...basic, ...code, grant_types: ['authorization_code'], redirect_uris: ['https://client.test/cb'] },
    { client_id: 'code', ...basic, ...code },
    { client_id: 'code-public', token_endpoint_auth_method: 'none', ...code },
    { client_id: 'code-dpop', ...basic, ...dpopBound, ...code },
    { client_id: 'code-public-dpop', token_endpoint_auth_method: 'none', ...dpopBound, ...code },
    { client_id: 'code-par', ...basic, require_pushed_authorization_requests: true, ...code },
    { client_id: 'code-pkjwt', ...pkjwt, require_pushed_authorization_requests: true, ...dpopBound, ...code },
    { client_id: 'code-tls', ...byName, ...certificateBound, ...code },
  ];
}
