// SPDX-License-Identifier: MIT
// Webhooks: what is reported, in which order, and what happens when the receiver does not answer.
import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import http from 'node:http';
import Pusher from 'pusher';
import { APP, hmac, startDaemon, waitFor } from '../lib/harness.mjs';

const FAST = { smoothing_ms: 100, retry_min_ms: 20, retry_max_ms: 100, compare_s: 1 };

/** A receiver that verifies every request as the application's server does. */
async function receiver(t, { app = APP, answer = () => 200 } = {}) {
	const verifier = new Pusher({ appId: app.id, key: app.key, secret: app.secret });
	const self = { requests: [], events: [], answer };
	self.named = (name, channel) => self.events.filter((e) => e.name === name &&
		(!channel || e.channel === channel));
	const server = http.createServer((request, response) => {
		const chunks = [];
		request.on('data', (chunk) => chunks.push(chunk));
		request.on('end', async () => {
			const rawBody = Buffer.concat(chunks).toString();
			const status = await self.answer(rawBody, response);
			if (status === undefined) return;
			const webhook = verifier.webhook({ headers: request.headers, rawBody });
			self.requests.push({ method: request.method, headers: request.headers, rawBody,
				status, isValid: webhook.isValid() });
			if (status === 200) self.events.push(...webhook.getEvents());
			response.writeHead(status).end('x'.repeat(10));
		});
	});
	await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
	t.after(() => { server.closeAllConnections(); server.close(); });
	self.url = `http://127.0.0.1:${server.address().port}/hook?token=not-shown`;
	self.server = server;
	return self;
}

const hooks = (...endpoints) => JSON.stringify(endpoints);

const start = (t, endpoints, options = {}) => startDaemon({ ...options,
	app: { webhooks: hooks(...endpoints), ...options.app },
	sections: { webhooks: { ...FAST, ...options.webhooks }, ...options.sections } }, t);

describe('channels', () => {
	test('a channel that is occupied and vacated is reported, signed', async (t) => {
		const to = await receiver(t);
		const daemon = await start(t, [{ url: to.url,
			event_types: ['channel_occupied', 'channel_vacated'] }]);
		const client = await daemon.connect();
		await client.subscribe('private-room');
		await waitFor(() => to.named('channel_occupied').length === 1);
		await client.unsubscribe('private-room');
		await client.ping();
		await waitFor(() => to.named('channel_vacated').length === 1);
		assert.deepEqual(to.events, [{ name: 'channel_occupied', channel: 'private-room' },
			{ name: 'channel_vacated', channel: 'private-room' }]);
		for (const r of to.requests) {
			assert.equal(r.isValid, true);
			assert.equal(r.method, 'POST');
			assert.equal(r.headers['content-type'], 'application/json');
			assert.equal(r.headers['x-pusher-key'], APP.key);
			assert.equal(r.headers['x-pusher-signature'], hmac(APP.secret, r.rawBody));
			assert.ok(Math.abs(JSON.parse(r.rawBody).time_ms - Date.now()) < 600000);
		}
		await waitFor(async () => (await daemon.query(
			'SELECT FROM scopewire.webhook_queue')).length === 0);
		assert.doesNotMatch(daemon.logText, /not-shown/);
	});
});
