// SPDX-License-Identifier: MIT
// wss and https on the port that serves ws and http.
import test from 'node:test';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { isDeepStrictEqual, promisify } from 'node:util';
import { fileURLToPath } from 'node:url';
import { APP, Raw, request, signedQuery, startDaemon, waitFor, tlsServer }
	from '../lib/harness.mjs';

const CLIENT = fileURLToPath(new URL('tls-client.mjs', import.meta.url));

test('TLS', async (t) => {
	const { ca, ...files } = tlsServer();
	const daemon = await startDaemon(
		{ server: { host: '*', ...files } }, t);

	await t.test('pusher-js with forceTLS, and the SDK over https', async () => {
		const { stdout } = await promisify(execFile)(process.execPath,
			[CLIENT, 'localhost', String(daemon.port)],
			{ env: { ...process.env, NODE_EXTRA_CA_CERTS: files.tls_certificate, NODE_TEST_CONTEXT: '' } });
		assert.deepEqual(JSON.parse(stdout), { status: 200, bytes: 9000 });
	});

	await t.test('ws and http clients on the same port share channels with wss and https', async () => {
		const open = await daemon.connect();
		const closed = await daemon.connect({ base: `wss://[::1]:${daemon.port}`, ca,
			servername: 'localhost' });
		for (const wire of [open, closed]) await wire.subscribe('both');
		await daemon.api().trigger('both', 'over-http', {});
		await daemon.api(APP, `https://127.0.0.1:${daemon.port}`, { ca }).trigger('both', 'over-https', {});
		for (const wire of [open, closed]) {
			await wire.next({ event: 'over-http' });
			await wire.next({ event: 'over-https' });
			await wire.close();
		}
	});

	await t.test('a request in one TLS record, and requests in sequence, are answered', async () => {
		const path = '/apps/client-portal/events';
		const body = JSON.stringify({ name: 'made', channel: 'one-record', data: 'x' });
		const post = `POST ${path}?${signedQuery(APP, 'POST', path, {}, body)} HTTP/1.1\r\n` +
			`Host: localhost\r\nContent-Type: application/json\r\n` +
			`Content-Length: ${body.length}\r\n\r\n${body}`;
		const raw = await Raw.connect(daemon.port, '127.0.0.1', { ca });
		raw.write(post);
		await waitFor(() => raw.ended || /^HTTP\/1.1 200 [\s\S]*\{\}$/.test(raw.text), 'an answer');
		assert.match(raw.text, /^HTTP\/1.1 200 /);
		raw.write('GET /up HTTP/1.1\r\nHost: localhost\r\n\r\n');
		await waitFor(() => raw.ended || raw.text.includes('{"health":"OK"}'), 'a second answer');
		raw.destroy();
	});

	await t.test('the whole API works over https as over http', async () => {
		const api = daemon.api(APP, `https://localhost:${daemon.port}`, { ca });
		// The channels of the clients before can still be there at the first request, and gone at the second.
		await waitFor(async () => isDeepStrictEqual((await api.get('/channels')).json, (await daemon.api().get('/channels')).json),
			'the same channels');
		assert.equal((await api.trigger('a', 'b', 'x'.repeat(10241))).status, 413);
		assert.equal((await api.post('/events', '{')).status, 400);
		assert.equal((await api.call('GET', '/channels', { override: { auth_signature: 'no' } })).status, 401);
		const keyed = (n) => api.post('/events', { name: 'K', data: '{}', channels: ['c'] },
			{ headers: { 'Idempotency-Key': 'k'.repeat(n) } });
		assert.equal((await keyed(255)).headers['idempotent-replayed'], undefined);
		assert.equal((await keyed(255)).headers['idempotent-replayed'], 'true');
		assert.equal((await keyed(256)).status, 400);
		assert.equal((await keyed(2000)).status, 400);
		const up = await request(`https://localhost:${daemon.port}/up`, { ca });
		assert.deepEqual(up.json, { health: 'OK' });
	});
});
