// SPDX-License-Identifier: MIT
// A certificate for tests of TLS.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { tempFolder } from './temp.mjs';

/**
 * A self-signed certificate for localhost, its loopback addresses: files of the certificate (cert), the
 * key (key) and both (both), and the certificate's text (ca).
 */
export function certificate() {
	const folder = tempFolder('tls');
	const [cert, key, both] = ['cert.pem', 'key.pem', 'both.pem'].map((f) => path.join(folder, f));
	execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256',
		'-nodes', '-days', '2', '-subj', '/CN=localhost', '-keyout', key, '-out', cert,
		'-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1'], { stdio: 'pipe' });
	fs.writeFileSync(both, fs.readFileSync(cert, 'utf8') + fs.readFileSync(key, 'utf8'), { mode: 0o600 });
	return { cert, key, both, ca: fs.readFileSync(cert) };
}
