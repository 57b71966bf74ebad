// What oidc-provider leaves to the application: who logs in, and whether that one consents. The only user is `shipper`.
import { SCOPE } from './clients.mjs';

const PLACE = /^\/interaction\/[A-Za-z0-9_-]+$/;
const PAGE = `<!doctype html><html lang="en"><head><title>Allow access?</title></head><body>
<h1>Allow access to your shipments?</h1>
<form method="post"><button name="answer" value="allow">Allow</button> <button name="answer" value="deny">Deny</button></form>
</body></html>`;

// Answers the request if it is for the consent page. `mode`: `allow` and `deny` answer at once, `ask` shows the page.
export async function interact(provider, mode, resources, req, res) {
  if (!PLACE.test(req.url)) return false;
  let answer = mode;
  if (mode === 'ask') {
    if (req.method !== 'POST') {
      res.writeHead(200, { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' });
      res.end(PAGE);
      return true;
    }
    let form = '';
    for await (const chunk of req) form += chunk;
    answer = new URLSearchParams(form).get('answer');
  }
  try {
    await provider.interactionFinished(req, res, answer === 'allow' ? await allowed(provider, resources, req, res) : { error: 'access_denied' });
  } catch (cause) { // such as no cookie
    res.writeHead(cause.statusCode ?? 500, { 'content-type': 'text/plain' });
    res.end(cause.message);
  }
  return true;
}

async function allowed(provider, resources, req, res) {
  const { params } = await provider.interactionDetails(req, res);
  const grant = new provider.Grant({ accountId: 'shipper', clientId: params.client_id });
  grant.addOIDCScope(`openid offline_access ${SCOPE}`);
  for (const resource of resources) grant.addResourceScope(resource, SCOPE);
  return { login: { accountId: 'shipper' }, consent: { grantId: await grant.save() } };
}
