// SPDX-License-Identifier: MIT
// What no well-behaved WebSocket client sends: the server answers clearly, stays up, serves others
// and leaks nothing.
import { after, afterEach, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { Raw, frame, waitFor } from '../lib/harness.mjs';
import { APP_PATH, Witness } from './ws_witness.mjs';

// A connection has so long for its handshake: some seconds more than a busy machine needs.
const TIMEOUT_MS = 5000;
const LIMIT = 20000;
let witness;

before(async () => {
	witness = await Witness.start({ server: { request_timeout_ms: TIMEOUT_MS },
		app: { max_message_bytes: LIMIT } });
});
after(() => witness?.stop());

const text = (value) => frame(typeof value === 'string' ? value : JSON.stringify(value));
const ping = () => text({ event: 'pusher:ping', data: {} });
const errors = (raw) => raw.messages.filter((m) => m.event === 'pusher:error');

/** Frames that are answered with an error, after which the connection goes on. */
async function refusedInBand(bytes, pattern, code = null) {
	const raw = await witness.raw();
	raw.write(bytes);
	raw.write(ping());
	await waitFor(() => raw.ended || raw.messages.some((m) => m.event === 'pusher:pong'),
		'the pong after it');
	assert.equal(raw.ended, false, raw.text);
	assert.equal(errors(raw).length, 1);
	assert.equal(errors(raw)[0].data.code, code);
	assert.match(errors(raw)[0].data.message, pattern);
	raw.destroy();
}

/** Frames that end the connection with a close code. */
async function closes(bytes, code) {
	const raw = await witness.raw();
	raw.write(bytes);
	assert.equal(await raw.closeCode(), code);
	raw.write(frame([code >> 8, code & 255], { opcode: 8 }));
	await waitFor(() => raw.ended, 'the end of the connection');
	raw.destroy();
}

describe('messages', () => {
	afterEach(() => witness.unharmed());

	for (const [what, message, pattern] of [
		['nothing', '', /not valid JSON/], ['no JSON', 'hello', /not valid JSON/],
		['half of it', '{"event":"pusher:ping"', /not valid JSON/],
		['two of them', '{"event":"pusher:ping"}{"event":"pusher:ping"}', /not valid JSON/],
		['an array', '[]', /not a JSON object/], ['a number', '7', /not a JSON object/],
		['null', 'null', /not a JSON object/], ['a string', '"x"', /not a JSON object/],
		['no event', '{}', /event must be a string/],
		['deep nesting', `{"event":"x","data":${'['.repeat(9000)}${']'.repeat(9000)}}`, /deeply/],
		['deep nesting that never ends', `${'{"a":'.repeat(3000)}`, /deeply|JSON/],
		['a lone surrogate', '{"event":"\\ud800"}', /half of a surrogate pair/],
		['a raw NUL', '{"event":"a\0b"}', /not valid JSON/],
		['an unknown event', '{"event":"pusher:nonsense"}', /Unknown event: pusher:nonsense/],
		['an event name with a NUL', '{"event":"a\\u0000b"}', /Unknown event/],
		['a very long event name', `{"event":"${'e'.repeat(15000)}"}`, /Unknown event/],
	]) test(what, () => refusedInBand(text(message), pattern));

	const wrong = [1, -1.5, true, {}, { a: 1 }, [], [1], [[]], null];
	const members = {
		'pusher:subscribe': { channel: 'private-x', auth: 'a:b', channel_data: '{}' },
		'pusher:unsubscribe': { channel: 'private-x' },
		'pusher:signin': { auth: 'a:b', user_data: '{}' },
	};
	for (const [event, data] of Object.entries(members)) {
		test(`wrong types in every field of ${event}`, async () => {
			for (const value of [...wrong, 'text']) {
				const raw = await witness.raw();
				raw.write(text({ event, data: value }));
				for (const key of Object.keys(data))
					if (typeof value !== 'string' && !(event === 'pusher:signin' && value === null))
						raw.write(text({ event, data: { ...data, [key]: value } }));
				raw.write(ping());
				await waitFor(() => raw.ended || raw.messages.some((m) => m.event === 'pusher:pong'),
					'the pong behind them');
				assert.equal(raw.ended, false, `${event} ${JSON.stringify(value)}`);
				assert.ok(errors(raw).length >= 1, `${event} ${JSON.stringify(value)}`);
				raw.destroy();
			}
		});
	}

	test('events of wrong types', async () => {
		for (const value of wrong)
			await refusedInBand(text({ event: value, data: {} }), /event must be a string/);
	});

	test('client events of wrong types', async () => {
		const raw = await witness.raw();
		for (const value of wrong) raw.write(text({ event: 'client-x', channel: value, data: {} }));
		raw.write(text({ event: 'client-x' }));
		raw.write(ping());
		await waitFor(() => raw.messages.some((m) => m.event === 'pusher:pong'), 'the pong');
		assert.equal(errors(raw).length, wrong.length + 1);
		raw.destroy();
	});

	test('too long names and invalid characters are refused', async () => {
		const raw = await witness.raw();
		const names = ['', 'x'.repeat(201), 'x'.repeat(15000), 'a b', 'a\0b', 'a/b', '\u00fc', '#x',
			'!user-1', '#server-to-user-', '\u{1f600}', '"', "'; --", '../up'];
		for (const channel of names)
			raw.write(text({ event: 'pusher:subscribe', data: { channel } }));
		raw.write(ping());
		await waitFor(() => raw.messages.some((m) => m.event === 'pusher:pong'), 'the pong');
		const answers = raw.messages.filter((m) => m.event === 'pusher:subscription_error');
		assert.deepEqual(answers.map((m) => m.channel), names);
		raw.destroy();
	});
});

describe('frames', () => {
	afterEach(() => witness.unharmed());

	const utf8 = (bytes) => frame(Buffer.concat([Buffer.from('{"event":"'), Buffer.from(bytes),
		Buffer.from('"}')]));

	for (const [what, bytes] of [['a lone continuation', [0x80]], ['an overlong form', [0xc0, 0xaf]],
		['a surrogate', [0xed, 0xa0, 0x80]], ['half a character', [0xe2, 0x82]],
		['beyond Unicode', [0xf5, 0x80, 0x80, 0x80]], ['0xff', [0xff]]])
		test(`invalid UTF-8, ${what}: 1007`, () => closes(utf8(bytes), 1007));

	test('invalid UTF-8 in a later fragment: 1007', () => closes(Buffer.concat([
		frame('{"event":"', { fin: false }), frame([0xff], { opcode: 0 })]), 1007));
	test('a message that ends within a character: 1007', () => closes(frame([0xe2, 0x82]), 1007));
	test('a character cut by fragments is whole', () => refusedInBand(Buffer.concat([
		frame(Buffer.concat([Buffer.from('{"event":"'), Buffer.from([0xe2])]), { fin: false }),
		frame(Buffer.concat([Buffer.from([0x82, 0xac]), Buffer.from('"}')]), { opcode: 0 })]),
	/Unknown event: \u20ac/));

	test('a binary frame is refused with an error', () => refusedInBand(frame([1, 2, 3], { opcode: 2 }), /Binary/));
	test('a large binary frame is refused with an error', () =>
		refusedInBand(frame(Buffer.alloc(300000), { opcode: 2 }), /Binary/));
	test('binary fragments are refused with an error', () => refusedInBand(Buffer.concat([
		frame([1], { opcode: 2, fin: false }), frame([2], { opcode: 0, fin: false }),
		frame([3], { opcode: 0 })]), /Binary/));

	test('an unmasked frame: 1002', () =>
		closes(frame('{"event":"pusher:ping"}', { mask: false }), 1002));
	test('an unmasked frame behind good ones: 1002', () => closes(Buffer.concat([
		ping(), ping(), frame('{"event":"pusher:ping"}', { mask: false })]), 1002));
	for (const rsv of [1, 2, 4])
		test(`reserved bit ${rsv}: 1002`, () => closes(frame('{}', { rsv }), 1002));
	for (const opcode of [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
		test(`reserved opcode ${opcode}: 1002`, () => closes(frame('{}', { opcode }), 1002));
	test('a continuation without a first fragment: 1002', () => closes(frame('{}', { opcode: 0 }), 1002));
	test('a message inside another: 1002', () => closes(Buffer.concat([
		frame('{', { fin: false }), frame('}')]), 1002));
	test('a ping in fragments: 1002', () => closes(frame('x', { opcode: 9, fin: false }), 1002));
	test('a ping that is too long: 1002', () => closes(frame(Buffer.alloc(126), { opcode: 9 }), 1002));
	test('a length over 2^63: 1002', async () => {
		const raw = await witness.raw();
		raw.write(Buffer.from([0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]));
		raw.write(Buffer.from([1, 2, 3, 4]));
		assert.equal(await raw.closeCode(), 1002);
		raw.destroy();
	});

	test('an oversized message is refused and skipped', () =>
		refusedInBand(text('x'.repeat(LIMIT + 1)), /too large/));
	test('a message of many megabytes is refused once and takes no memory', async () => {
		const before_ = witness.memory();
		const raw = await witness.raw();
		raw.write(frame(Buffer.alloc(30 << 20, 'x')));
		raw.write(ping());
		await waitFor(() => raw.messages.some((m) => m.event === 'pusher:pong'), 'the pong');
		assert.equal(errors(raw).length, 1);
		witness.grewAtMost(8 << 20, before_);
		raw.destroy();
	});
	test('endless fragments take no memory', async () => {
		const before_ = witness.memory();
		const raw = await witness.raw();
		raw.write(frame('x'.repeat(1000), { fin: false }));
		const more = Buffer.concat(Array.from({ length: 100 },
			() => frame('x'.repeat(1000), { opcode: 0, fin: false })));
		for (let i = 0; i < 100; i++) raw.write(more);
		raw.write(frame('', { opcode: 9 }));
		await waitFor(() => raw.ended || raw.frames.some((f) => f.opcode === 10), 'the pong');
		assert.equal(errors(raw).length, 1);
		assert.match(errors(raw)[0].data.message, /too large/);
		witness.grewAtMost(8 << 20, before_);
		raw.destroy();
	});
	test('endless empty fragments take no memory', async () => {
		const raw = await witness.raw();
		raw.write(frame('{"event":', { fin: false }));
		const more = Buffer.concat(Array.from({ length: 1000 },
			() => frame('', { opcode: 0, fin: false })));
		for (let i = 0; i < 20; i++) raw.write(more);
		raw.write(frame('"pusher:ping"}', { opcode: 0 }));
		await waitFor(() => raw.messages.some((m) => m.event === 'pusher:pong'), 'the pong');
		raw.destroy();
	});
	test('a message in fragments of one byte with pings between is read', async () => {
		const raw = await witness.raw();
		const bytes = Buffer.from('{"event":"pusher:ping"}');
		bytes.forEach((byte, i) => {
			raw.write(frame([byte], { opcode: i ? 0 : 1, fin: i === bytes.length - 1 }));
			raw.write(frame('x', { opcode: 9 }));
		});
		await waitFor(() => raw.messages.some((m) => m.event === 'pusher:pong'), 'the pong');
		// One pong may answer several pings (RFC 6455 section 5.5.3).
		assert.ok(raw.frames.some((f) => f.opcode === 10));
		raw.destroy();
	});
	test('frames sent byte by byte are read', async () => {
		const raw = await witness.raw();
		raw.socket.setNoDelay(true);
		for (const byte of ping()) {
			raw.write(Buffer.from([byte]));
			await new Promise(setImmediate);
		}
		await waitFor(() => raw.messages.some((m) => m.event === 'pusher:pong'), 'the pong');
		raw.destroy();
	});
	test('a close frame without code, with one byte, or an invalid code is answered', async () => {
		for (const payload of [[], [3], [0x03, 0xe8], [0, 5], [0xff, 0xff]]) {
			const raw = await witness.raw();
			raw.write(frame(payload, { opcode: 8 }));
			await waitFor(() => raw.ended, 'the end of the connection');
			raw.destroy();
		}
	});
	test('frames after a close frame are not read', async () => {
		const raw = await witness.raw();
		raw.write(Buffer.concat([frame([0x03, 0xe8], { opcode: 8 }), ping(), ping()]));
		await waitFor(() => raw.ended, 'the end of the connection');
		assert.equal(raw.messages.filter((m) => m.event === 'pusher:pong').length, 0);
		raw.destroy();
	});
});

describe('upgrade requests', { concurrency: true }, () => {
	after(() => witness.unharmed());

	const head = (path = APP_PATH, more = '') => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n` +
		'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
		`Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${more}\r\n`;

	/** Everything the server sends until it closes. */
	async function exchange(bytes) {
		const raw = await Raw.connect(witness.daemon.port);
		raw.write(bytes);
		await waitFor(() => raw.ended, 'the server to close');
		raw.destroy();
		return raw.text;
	}

	test('headers of 20 KB are refused', async () => {
		const answer = await exchange(head(APP_PATH, `X-Long: ${'x'.repeat(20000)}\r\n`));
		assert.doesNotMatch(answer, / 101 /);
	});
	test('headers of 12 KB are accepted', async () => {
		const raw = await Raw.connect(witness.daemon.port);
		const answer = await raw.upgrade(APP_PATH, { Cookie: `a=${'x'.repeat(12000)}` });
		assert.match(answer, / 101 /);
		await waitFor(() => raw.messages.length, 'the greeting');
		raw.destroy();
	});
	test('a thousand small headers do no harm', async () => {
		const many = Array.from({ length: 1000 }, (_, i) => `X-${i}: y\r\n`).join('');
		const raw = await Raw.connect(witness.daemon.port);
		raw.write(head(APP_PATH, many));
		await waitFor(() => raw.ended || raw.received.length, 'an answer or the end');
		raw.destroy();
	});
	test('a target of 20 KB is refused', async () => {
		assert.doesNotMatch(await exchange(head(`/app/${'k'.repeat(20000)}`)), / 101 /);
	});
	test('a request without Upgrade is refused', async () => {
		const answer = await exchange(`GET ${APP_PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
		assert.match(answer, /^HTTP\/1.1 426 /);
	});
	test('a NUL or bytes above 127 in the head do no harm', async () => {
		for (const odd of ['\0', '\xff\xfe', '\x01', '\r', '\n']) {
			const raw = await Raw.connect(witness.daemon.port);
			raw.socket.write(Buffer.from(head(APP_PATH, `X-Odd: a${odd}b\r\n`), 'latin1'));
			await waitFor(() => raw.ended || raw.received.length, 'an answer or the end');
			raw.destroy();
		}
	});
	test('frames in the same packet as the request are read', async () => {
		const raw = await Raw.connect(witness.daemon.port);
		raw.upgraded = false;
		raw.write(Buffer.concat([Buffer.from(head()), ping(), ping()]));
		await waitFor(() => raw.text.split('pusher:pong').length === 3, 'both pongs');
		raw.destroy();
	});
	for (const at of [1, 4, 20, 60, 100, 150, -4, -1])
		test(`half a request, ${at} bytes, then silence: closed in time`, async () => {
			const whole = head();
			assert.doesNotMatch(await exchange(whole.slice(0, at < 0 ? whole.length + at : at)), / 101 /);
		});
	test('a request sent byte by byte for longer than request_timeout_ms is closed', async () => {
		const raw = await Raw.connect(witness.daemon.port);
		const bytes = head(APP_PATH, `X-Slow: ${'x'.repeat(5000)}\r\n`);
		let at = 0;
		await waitFor(() => {
			if (!raw.ended) raw.write(bytes[at++]);
			return raw.ended;
		}, 'the server to close');
		assert.doesNotMatch(raw.text, / 101 /);
		raw.destroy();
	});
	test('a connection that sends nothing is closed', async () => {
		const raw = await Raw.connect(witness.daemon.port);
		await waitFor(() => raw.ended, 'the server to close');
		raw.destroy();
	});
});

/**
 * Sends the bytes, if any, and ends the connection; by turns with a reset.  Over TLS node reports neither an
 * empty write nor the end by a reset.
 */
function leave(socket, bytes, n) {
	const gone = new Promise((resolve) => socket.once('close', resolve));
	const go = () => (n % 2 && !socket.encrypted ? socket.resetAndDestroy() : socket.destroy());
	if (bytes.length) socket.write(bytes, go);
	else go();
	return gone;
}

describe('disconnects in the middle of everything', () => {
	afterEach(() => witness.unharmed());

	test('a disconnect at each byte of the handshake does no harm', async () => {
		const whole = `GET ${APP_PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n` +
			'Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
			'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n';
		for (let n = 0; n <= whole.length; n++) {
			const raw = await Raw.connect(witness.daemon.port);
			await leave(raw.socket, whole.slice(0, n), n);
		}
	});
	test('a disconnect at each byte of a subscribe does no harm', async () => {
		const whole = text({ event: 'pusher:subscribe', data: { channel: 'witness', auth: '' } });
		for (let n = 0; n <= whole.length; n++) {
			const raw = await witness.raw();
			await leave(raw.socket, whole.subarray(0, n), n);
		}
		await waitFor(async () => (await witness.api.get('/channels/witness',
			{ info: 'subscription_count' })).json.subscription_count === 1, 'one subscription');
	});
	test('a half-closed connection does no harm', async () => {
		const raw = await witness.raw();
		raw.socket.end(ping());
		await waitFor(() => raw.ended, 'the end of the connection');
		raw.destroy();
	});
});
