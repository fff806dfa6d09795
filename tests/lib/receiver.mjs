// SPDX-License-Identifier: MIT
// An application's server that receives webhooks.
import assert from 'node:assert/strict';
import http from 'node:http';
import https from 'node:https';
import Pusher from 'pusher';
import { APP } from './daemon.mjs';

/**
 * A receiver that verifies every request as the application's server does.  answer gives the status of a
 * request, or undefined when it took the response for itself.
 */
export async function receiver(t, { app = APP, answer = () => 200, body = '', tls } = {}) {
	const verifier = new Pusher({ appId: app.id, key: app.key, secret: app.secret });
	const self = { requests: [], events: [], attempts: 0, answer };
	self.named = (name, channel) => self.events.filter((e) => e.name === name &&
		(!channel || e.channel === channel));
	const take = (request, response) => {
		const chunks = [];
		request.on('data', (chunk) => chunks.push(chunk));
		request.on('end', () => {
			const rawBody = Buffer.concat(chunks).toString();
			self.attempts++;
			const status = self.answer(rawBody, response);
			if (status === undefined) return;
			const webhook = verifier.webhook({ headers: request.headers, rawBody });
			assert.equal(webhook.isValid(), true);
			self.requests.push({ method: request.method, headers: request.headers, rawBody, status });
			if (status >= 200 && status < 300) self.events.push(...webhook.getEvents());
			response.writeHead(status, self.headers).end(body);
		});
	};
	const server = tls ? https.createServer(tls, take) : http.createServer(take);
	self.up = (port) => new Promise((resolve) => { server.listen(port, '127.0.0.1', resolve); });
	self.down = () => { server.closeAllConnections(); return new Promise((resolve) => { server.close(resolve); }); };
	await self.up(0);
	t.after(() => { server.closeAllConnections(); server.close(); });
	self.url = `http${tls ? 's' : ''}://127.0.0.1:${server.address().port}/hook?token=not-shown`;
	return self;
}
