// SPDX-License-Identifier: MIT
// The daemon under test with TLS, and whether a suite runs over TLS.
import http from 'node:http';
import https from 'node:https';
import { certificate } from './certificate.mjs';

/** A new certificate: options of [server] (tls_certificate, tls_key), and the authority (ca). */
export function tlsServer() {
	const { cert, key, ca } = certificate();
	return { tls_certificate: cert, tls_key: key, ca };
}

let shared;

/**
 * The certificate of all daemons of a suite that runs over TLS, else undefined.  Such a suite is a file
 * that sets SCOPEWIRE_TEST_TLS and imports the suite, for example http_api_tls.test.mjs.
 */
export function suiteCertificate() {
	if (!process.env.SCOPEWIRE_TEST_TLS) return undefined;
	return shared ??= tlsServer();
}

/** An agent for requests to the daemon under test. */
export function suiteAgent(options) {
	return new (suiteCertificate() ? https : http).Agent(options);
}

/** http.get() of the daemon under test. */
export function suiteGet(url, options, onResponse) {
	const { ca } = suiteCertificate() ?? {};
	return (ca ? https : http).get(url, { ca, ...options }, onResponse);
}
