// Debian's nginx in front of a server of this directory: it ends TLS on two ports and asks for a client certificate on one.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import * as net from 'node:net';
import * as path from 'node:path';
import * as tls from 'node:tls';

const HOST = '127.0.0.1';

// nginx is told of the sockets it inherits (descriptors 3 and 4) by NGINX. It ends with its standard input, which the shell
// reads: so it does not outlive the process that started it, however that one ends.
const SCRIPT = 'nginx -p "$1" -c "$1/nginx.conf" -e stderr & exec 3>&- 4>&-; cat; kill "$!"; wait';

// Answers once a TLS connection to it was made: { port, mtlsPort, stop }. `verify`: nginx's own ssl_verify_client.
export async function startNginx(stateDir, upstreamPort, verify = 'optional_no_ca') {
  if (!['optional_no_ca', 'on'].includes(verify)) throw new Error('nginx verifies certificates with optional_no_ca or on');
  const runDir = fs.mkdtempSync(path.join(stateDir, 'nginx-'));
  const errors = path.join(runDir, 'stderr');
  // Opened here, so that no port is chosen twice and whoever connects early waits.
  const sockets = [net.createServer(), net.createServer()];
  for (const socket of sockets) await once(socket.listen(0, HOST), 'listening');
  const [port, mtlsPort] = sockets.map((socket) => socket.address().port);
  const values = {
    // Workers of a master that is root would become another user, who cannot read this directory.
    USER: process.getuid() === 0 ? 'user root;' : '',
    RUN_DIR: runDir, STATE_DIR: stateDir, TLS_PORT: port, MTLS_PORT: mtlsPort, UPSTREAM_PORT: upstreamPort, VERIFY: verify,
  };
  const template = fs.readFileSync(new URL('nginx.conf.in', import.meta.url), 'utf8');
  fs.writeFileSync(path.join(runDir, 'nginx.conf'), template.replace(/@(\w+)@/g, (_, name) => values[name]));
  const child = spawn('sh', ['-c', SCRIPT, 'sh', runDir], {
    env: { PATH: `${process.env.PATH}:/usr/sbin:/usr/local/sbin`, NGINX: '3;4;' },
    stdio: ['pipe', 'ignore', fs.openSync(errors, 'a'), ...sockets.map((socket) => socket._handle.fd)],
  });
  for (const socket of sockets) socket.close();
  try {
    const probe = tls.connect({ host: HOST, port: mtlsPort, ca: fs.readFileSync(path.join(stateDir, 'ca.pem')) });
    await once(probe, 'secureConnect');
    probe.destroy();
  } catch (cause) {
    throw new Error(`nginx does not answer; what it wrote to stderr: ${fs.readFileSync(errors, 'utf8')}`, { cause });
  }
  return { port, mtlsPort, stop: () => { child.stdin.end(); return once(child, 'exit'); } };
}
