// A person with a browser: opens a page in headless Chromium, presses buttons and says where they lead.
//   node consent.mjs URL [BUTTON...] [--trust-any-certificate] [--screenshot FILE]
// BUTTON is the text of a button or link, on the page that the one before it led to; `allow` and `deny` are those of the consent
// page of as.mjs (the letters' case does not matter). Prints a JSON line { url, title, text } for the page it opened and one for
// the page after each BUTTON.
// CHROMIUM names another browser than the one in PATH.
import { spawnSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';

const { positionals: [url, ...buttons], values } = parseArgs({
  allowPositionals: true,
  options: { 'trust-any-certificate': { type: 'boolean', default: false }, screenshot: { type: 'string' } },
});
if (!url) throw new Error('usage: node consent.mjs URL [BUTTON...] [--trust-any-certificate] [--screenshot FILE]');

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || installed(),
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage',
  ],
});
try {
  const page = await browser.newPage({ ignoreHTTPSErrors: values['trust-any-certificate'] });
  await page.goto(url);
  await say(page);
  for (const button of buttons) {
    const named = { name: button, exact: false };
    const [answer] = await Promise.all([
      page.waitForNavigation(),
      page.getByRole('button', named).or(page.getByRole('link', named)).first().click(),
    ]);
    await answer?.finished();
    await say(page);
  }
  if (values.screenshot) await page.screenshot({ path: values.screenshot });
} finally {
  await browser.close();
}

async function say(page) {
  console.log(JSON.stringify({ url: page.url(), title: await page.title(), text: await page.innerText('body') }));
}

function installed() {
  const names = ['chromium', 'chromium-browser', 'google-chrome'];
  const found = names.map((name) => spawnSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).stdout.trim()).find(Boolean);
  if (!found) throw new Error(`no browser in PATH (${names.join(', ')}), and CHROMIUM names none`);
  return found;
}
