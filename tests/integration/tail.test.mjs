// SPDX-License-Identifier: MIT
// The live tail: /admin/api/tail and scopewirectl tail.
import test from 'node:test';
import assert from 'node:assert/strict';
import http from 'node:http';
import { APP, Sync, Wire, request, waitFor } from '../lib/harness.mjs';
import { TOKEN, bearer, withAdmin } from '../lib/ctl.mjs';

/** An open stream: {messages: [{event, data}], comments, end(), closed}. */
async function watch(t, url, query = '', headers = bearer(TOKEN.read)) {
	const stream = { messages: [], comments: 0, closed: false, text: '' };
	const request = http.get(`${url}/admin/api/tail?${query}`, { headers, agent: false });
	t.after(() => request.destroy());
	const response = await new Promise((resolve, reject) => request.on('response', resolve).on('error', reject));
	request.on('error', () => {});
	stream.response = response;
	stream.status = response.statusCode;
	response.setEncoding('utf8');
	response.on('error', () => {});
	response.on('close', () => { stream.closed = true; });
	response.on('data', (chunk) => {
		stream.text += chunk;
		const parts = stream.text.split('\n\n');
		stream.text = parts.pop();
		for (const part of parts) {
			const match = /^event: (\w+)\ndata: (.*)$/s.exec(part);
			if (match) stream.messages.push({ kind: match[1], ...JSON.parse(match[2]) });
			else stream.comments++;
		}
	});
	stream.end = () => request.destroy();
	if (stream.status === 200) await waitFor(() => stream.comments, 'the first comment');
	stream.until = (wanted, what) => waitFor(() => stream.messages.find(wanted), what);
	return stream;
}

test('events are shown with serial, data and the number of subscriptions', async (t) => {
	const { daemon, url } = await withAdmin(t);
	const wire = await daemon.connect();
	await wire.subscribe('news');
	const all = await watch(t, url, 'kinds=event');
	const some = await watch(t, url, 'kinds=event&channel=private-*');
	assert.equal(all.response.headers['content-type'], 'text/event-stream');
	assert.equal(all.response.headers['cache-control'], 'no-store');
	await daemon.api().trigger('news', 'made', { text: 'größer' });
	const shown = await all.until((m) => m.event === 'made', 'the event');
	assert.deepEqual([shown.kind, shown.app, shown.channel, shown.reached, JSON.parse(shown.data), shown.cut],
		['event', APP.id, 'news', 1, { text: 'größer' }, undefined]);
	assert.equal(shown.serial, (await daemon.query('SELECT serial::int FROM realtime_events'))[0].serial);
	await daemon.query(`SELECT broadcast('private-x', 'sql', json_build_object('t', repeat('é', 4000)))`);
	const cut = await some.until((m) => m.event === 'sql', 'the event of SQL');
	assert.equal(cut.cut, true);
	assert.ok(Buffer.byteLength(cut.data) <= 4096 && Buffer.byteLength(cut.data) > 4090);
	assert.deepEqual([cut.reached, some.messages.length], [0, 1]);
});

test('client events, refusals and connections are shown with user and reason', async (t) => {
	const { daemon, url } = await withAdmin(t);
	const tail = await watch(t, url);
	const wire = await daemon.connect();
	await wire.subscribe('presence-room', { channelData: { user_id: '7', user_info: {} } });
	wire.send({ event: 'client-typing', channel: 'presence-room', data: { a: 1 } });
	wire.sendSubscribe('private-orders', { auth: `${APP.key}:wrong` });
	await wire.ping();
	const lost = new Wire(`${daemon.url.replace('http', 'ws')}/app/nothing?protocol=7`, APP);
	await lost.closed;
	assert.equal((await daemon.api({ ...APP, secret: 'wrong' }).trigger('news', 'made', {})).status, 401);
	await wire.close(1000);

	const typing = await tail.until((m) => m.event === 'client-typing', 'the client event');
	assert.deepEqual([typing.kind, typing.user_id, typing.socket_id, typing.data], ['event', '7', wire.socketId, '{"a":1}']);
	const refused = await tail.until((m) => m.event === 'subscribe_refused', 'the refusal');
	assert.deepEqual([refused.kind, refused.channel, refused.reason, refused.code],
		['refusal', 'private-orders', 'the signature is not valid', 401]);
	const unknown = await tail.until((m) => m.event === 'connection_refused', 'the refused connection');
	assert.deepEqual([unknown.kind, unknown.reason, unknown.code], ['refusal', 'Application does not exist', 4001]);
	const request = await tail.until((m) => m.event === 'request_refused', 'the refused request');
	assert.deepEqual([request.kind, request.code, request.data], ['refusal', 401, `/apps/${APP.id}/events`]);
	const closed = await tail.until((m) => m.event === 'closed', 'the end');
	assert.deepEqual([closed.kind, closed.reason, closed.code], ['connection', 'by the client', 1000]);
	for (const event of ['connected', 'subscribed'])
		assert.equal(tail.messages.find((m) => m.event === event).socket_id, wire.socketId);
});

test('filters: app, event, user and kinds', async (t) => {
	const { daemon, url, get } = await withAdmin(t);
	const [byUser, byEvent, byApp, refusals] = [await watch(t, url, 'user=7'), await watch(t, url, 'event=ma*'),
		await watch(t, url, 'app=other'), await watch(t, url, 'kinds=refusal,connection')];
	const api = daemon.api();
	await api.trigger('news', 'made', {});
	await api.trigger('news', 'other', {});
	await daemon.query(`SELECT broadcast('#server-to-user-7', 'own', '{}')`);
	await byUser.until((m) => m.event === 'own', 'the user\'s event');
	await byEvent.until((m) => m.event === 'made', 'the event');
	assert.deepEqual([byUser, byEvent, byApp, refusals].map((s) => s.messages.length), [1, 1, 0, 0]);
	assert.equal((await get('/admin/api/tail?kinds=all')).status, 400);
	assert.equal((await get('/admin/api/tail?colour=red')).status, 400);
	assert.equal((await get('/admin/api/tail', bearer(TOKEN.metrics))).status, 403);
});

test('a reader that is slow loses messages, receives their number, and stops nothing', async (t) => {
	const { daemon, url } = await withAdmin(t, undefined, { app: { max_event_payload_bytes: 0 } });
	const slow = await watch(t, url, 'kinds=event');
	slow.response.pause();
	const quick = await watch(t, url, 'kinds=event&event=last');
	await daemon.query(`SELECT broadcast('news', 'n', json_build_object('t', repeat('x', 10000)))
		FROM generate_series(1, 3000)`);
	await daemon.query(`SELECT broadcast('news', 'last', '{}')`);
	await quick.until((m) => m.event === 'last', 'the last event for a reader that is not slow');
	slow.response.resume();
	const lost = await slow.until((m) => m.kind === 'lost', 'the number of lost messages');
	await daemon.query(`SELECT broadcast('news', 'after', '{}')`);
	await slow.until((m) => m.event === 'after', 'an event after them');
	const got = slow.messages.filter((m) => m.event === 'n' || m.event === 'last').length;
	const all = slow.messages.filter((m) => m.kind === 'lost').reduce((n, m) => n + m.lost, 0);
	assert.equal(got + all, 3001, `${got} were received, ${lost.lost} lost`);
});

test('at most 16 watch, one that leaves makes room, and a stop ends the streams at once', async (t) => {
	const { daemon, url, get } = await withAdmin(t);
	const all = [];
	for (let i = 0; i < 16; i++) all.push(await watch(t, url));
	assert.equal((await get('/admin/api/tail')).status, 503);
	all[0].end();
	const next = await waitFor(async () => {
		await daemon.api().trigger('news', 'tick', {});       // a stream notices when it writes
		const stream = await watch(t, url);
		return stream.status === 200 && stream;
	}, 'room for another');
	await daemon.api().trigger('news', 'tock', {});
	await next.until((m) => m.event === 'tock', 'its event');
	await daemon.stop();
	await waitFor(() => all.concat(next).every((s) => s.closed), 'the ends');
	// A stream that the stop had to cut off would be incomplete.
	assert.ok(all.slice(1).every((s) => s.response.complete), 'all ended with their last part');
});

test('a tail ends when the token that opened it is removed, and no other one', async (t) => {
	const { url, post } = await withAdmin(t);
	const { token } = (await post('/admin/api/token', { name: 'ada', scope: 'read' })).json;
	const [ada, other] = [await watch(t, url, '', bearer(token)), await watch(t, url)];
	await post('/admin/api/token-remove', { name: 'ada' });
	await waitFor(() => ada.closed, 'the end of the stream');
	assert.equal((await watch(t, url, '', bearer(token))).status, 401);
	assert.equal(other.closed, false);
});

test('HEAD of the tail has no body, and takes no place', async (t) => {
	const { url } = await withAdmin(t);
	for (let n = 0; n < 17; n++) {
		const { status, headers, text } = await request(`${url}/admin/api/tail`,
			{ method: 'HEAD', headers: bearer(TOKEN.read) });
		assert.deepEqual([status, headers['content-type'], text], [200, 'text/event-stream', '']);
	}
	assert.equal((await watch(t, url)).status, 200);
});

test('a stream that has nothing to show has a comment every 15 seconds', async (t) => {
	const { url } = await withAdmin(t);
	const quiet = await watch(t, url, 'kinds=refusal');
	await waitFor(() => quiet.comments >= 2, 'a second comment');
});
