// SPDX-License-Identifier: MIT
// Numbers and strings: what goes in comes out as it was written, or is refused with the reason.  One
// table for all ways in.  Frames of clients are in ws_wire.test.mjs, mutations in sync_data.test.mjs.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { PROGRAM, Sync, start, startDaemon, tempFolder } from '../lib/harness.mjs';

const nested = (n) => '['.repeat(n) + ']'.repeat(n);

/**
 * JSON texts.  jsonb: what the type jsonb makes of it, or the SQLSTATE of its refusal.  sync: what the
 * sync API stores, or why not; its numbers are IEEE doubles and 64-bit integers (docs/sync/data.md).
 */
const VALUES = {
	'a lone surrogate': { json: '"\\ud800"', jsonb: '22P02', sync: /\\uD800/ },
	'a lone surrogate in a name': { json: '{"\\udc00":1}', jsonb: '22P02', sync: /\\uDC00/ },
	'NUL': { json: '"a\\u0000b"', jsonb: '22P05', sync: /u0000/ },
	'NUL in a name': { json: '{"\\u0000":1}', jsonb: '22P05', sync: /NUL/ },
	'a name given twice': { json: '{"a":1,"a":2}', jsonb: '{"a":2}', sync: /duplicate/ },
	'an empty name': { json: '{"":1}' },
	'32 levels': { json: nested(32) },
	'1,000 levels': { json: nested(1000) },
	'a long string': { json: JSON.stringify('x'.repeat(4000)) },
	'2^53 + 1': { json: '9007199254740993' },
	'2^64': { json: '18446744073709551616', sync: /too big integer/ },
	'an exponent': { json: '15e+1', jsonb: '150', sync: '150.0' },
	'a double out of range': { json: '1e400', jsonb: `1${'0'.repeat(400)}`, sync: /real number overflow/ },
	'a double that is too small': { json: '1e-400', jsonb: `0.${'0'.repeat(399)}1`, sync: /would be changed/ },
	'more digits than a double': { json: '0.123456789012345678', sync: /would be changed/ },
	'a shorter number is the same double': { json: '0.10000000000000001', sync: /would be changed/ },
	'as many digits as a double': { json: '0.12345678901234566' },
	'minus zero': { json: '-0', jsonb: '0', sync: '0' },
	'a zero at the end': { json: '0.10', sync: '0.1' },
};

describe('in data', () => {
	let daemon, server, wire;
	before(async () => {
		daemon = await startDaemon({ app: { enable_user_authentication: 'yes' } });
		server = Sync.server(daemon);
		wire = await daemon.connect();
		wire.sendSignin({ id: '7' });
		await wire.next({ event: 'pusher:signin_success' });
		for (const channel of ['#server-to-user-7', 'values']) await wire.subscribe(channel);
	});
	after(() => {
		wire?.terminate();
		return daemon?.stop();
	});

	/** The data of the next event, and what its row has. */
	const received = async (event) => {
		const frame = await wire.next({ event });
		const [row] = await daemon.query(`SELECT payload::text AS text, payload_is_text AS is_text
			FROM realtime_events WHERE serial = $1`, [frame.serial]);
		return [frame.data, row.is_text ? JSON.parse(row.text) : row.text];
	};

	for (const [name, { json, jsonb = json, sync = json }] of Object.entries(VALUES)) {
		const data = `{"v":${json}}`;

		test(`${name}: over HTTP`, async () => {
			for (const [where, body] of [
				['/events', { name: 'Made', channel: 'values', data }],
				['/batch_events', { batch: [{ name: 'Made', channel: 'values', data }] }],
				['/users/7/events', { name: 'Made', data }]]) {
				const answer = await daemon.api().post(where, body);
				assert.equal(answer.status, 200, `${where}: ${answer.text}`);
				assert.deepEqual(await received('Made'), [data, data], where);
			}
		});

		test(`${name}: by broadcast(), an INSERT, and a watched table`, async () => {
			for (const type of ['text', 'json']) {
				await daemon.query(`SELECT broadcast('values', 'Told', $1::${type})`, [data]);
				assert.deepEqual(await received('Told'), [data, data], type);
			}
			await daemon.query(`INSERT INTO realtime_events (channel, event_type, payload)
				VALUES ('values', 'Put', $1::json)`, [data]);
			assert.deepEqual(await received('Put'), [data, data]);
			await daemon.query(`CREATE TABLE IF NOT EXISTS public.kept (id serial PRIMARY KEY, v json)`);
			await daemon.query(`SELECT watch('public.kept', 'values', '{v}', '{insert}', 'Kept')
				WHERE NOT EXISTS (SELECT FROM watches)`);
			await daemon.query('INSERT INTO public.kept (v) VALUES ($1)', [json]);
			const [shown, stored] = await received('Kept');
			assert.equal(shown, stored);
			assert.ok(shown.endsWith(`"new":{"v":${json}}}`), shown);
		});

		test(`${name}: as jsonb in SQL`, async () => {
			const calls = { Told: `broadcast('values', 'Told', $1::jsonb)`,
				activity: `activity_add('value', metadata => $1::jsonb)`,
				notification: `notification_send('{7}', 'Value', data => $1::jsonb)` };
			for (const [what, call] of Object.entries(calls)) {
				const done = daemon.query(`SELECT ${call}`, [data]);
				if (/^22P0/.test(jsonb)) {
					await assert.rejects(done, { code: jsonb });
					continue;
				}
				await done;
				const text = what === 'Told' ? (await received('Told'))[0]
					: what === 'activity' ? (await server.get('activities', { limit: 1 })).text
						: (await server.get('notifications', { user_id: 7, limit: 1 })).text;
				assert.ok(text.replaceAll(' ', '').includes(`{"v":${jsonb}}`), `${what}: ${text}`);
			}
		});

		test(`${name}: over the sync API`, async () => {
			const info = json.length > 1500 ? '"too long for info"' : json;
			const calls = {
				activities: [`{"type":"value","metadata":${data}}`, 'activities', { limit: 1 }],
				notifications: [`{"to":7,"title":"Value","data":${data}}`, 'notifications', { user_id: 7, limit: 1 }],
				heartbeat: [`{"user_id":7,"info":{"v":${info}}}`, 'online-users', {}],
			};
			for (const [where, [body, list, query]] of Object.entries(calls)) {
				const answer = await server.call('POST', where, { body });
				if (sync instanceof RegExp) {
					assert.equal(answer.status, 400, `${where}: ${answer.text}`);
					assert.match(answer.json.error.message, sync, where);
					assert.match(answer.json.error.message, /at byte \d+ \(line 1, column \d+\)/, where);
					continue;
				}
				assert.ok(answer.status < 300, `${where}: ${answer.text}`);
				const shown = (await server.get(list, query)).text;
				const wanted = where === 'heartbeat' && info !== json ? info : sync;
				assert.ok(shown.includes(`{"v":${wanted}}`), `${where}: ${shown}`);
			}
		});
	}
});

describe('in the configuration', () => {
	const folder = tempFolder('values'), file = path.join(folder, 'scopewire.conf');
	const app = '[app a]\nkey = k\nsecret = a-long-secret-of-32-bytes-or-more\n';
	const LONG = 'x'.repeat(4097);

	/** [text, what is reported, or NULL if it is valid]; characters are bytes. */
	const FILES = {
		'a surrogate in a value': ['[server]\nnode = a\xed\xa0\x80\n', /:2: \[server\] node = .*is not UTF-8/],
		'a byte that is no UTF-8 in a key': ['[app a]\nkey = k\xff\nsecret = s\n', /:2: \[app a\] key = .*is not UTF-8/],
		'a byte that is no UTF-8 in an id': ['[app \xff]\nkey = k\nsecret = s\n', /\[app .*the id is not UTF-8/],
		'a byte that is no UTF-8 in a list': [`${app}allowed_origins = a.example, \xc3(\n`, /allowed_origins = .*is not UTF-8/],
		'a byte that is no UTF-8 in a rule': [`${app}channel_durability = \xff*:none\n`, /channel_durability = .*is not UTF-8/],
		'any bytes in a secret': ['[app a]\nkey = k\nsecret = \xff\xed\xa0\x80-long-secret-of-32-bytes\n', null],
		'any bytes in a comment': [`; f\xfcr uns\n${app}`, null],
		'NUL': [`[server]\nnode = a\0b\n${app}`, /:2: the line has a NUL byte/],
		'an option given twice': [`${app}max_connections = 1\nmax_connections = 2\n`, /max_connections: is set twice; first in line 4/],
		'a section given twice': [`[server]\nport = 1\n[log]\n[server]\nport = 2\n`, /port: is set twice; first in line 2/],
		'an application given twice': [app + app, /\[app a\] key: is set twice/],
		'an empty name': [`${app}= 5\n`, /:4: is neither \[section\] nor name = value/],
		'an empty section': ['[]\nport = 1\n', /there is no section \[\]/],
		'an empty id': ['[app ]\nkey = k\n', /the section of an app is \[app ID\]/],
		'a long line': [`[server]\nnode = ${LONG}\n`, /:2: the line is longer than 4096 bytes/],
		'a long section': [`[app ${'a'.repeat(200)}]\nkey = k\n`, /:1: the section's name is longer than 128 bytes/],
		'2^64': [`${app}max_connections = 18446744073709551616\n`, /max_connections = 18446744073709551616: must be from 0/],
		'2^53 + 1': [`${app}max_connections = 9007199254740993\n`, /must be from 0/],
		'an exponent': [`${app}max_connections = 1e3\n`, /max_connections = 1e3: must be from 0/],
		'minus zero': [`${app}max_connections = -0\n`, /max_connections = -0: must be from 0/],
		'a fraction': ['[server]\nport = 8080.5\n', /port = 8080.5: must be from 0/],
		'deep nesting in webhooks': [`${app}webhooks = ${'['.repeat(3000)}\n`, /webhooks: must be JSON/],
		'a lone surrogate in webhooks': [`${app}webhooks = [{"url":"https://a.example/\\ud800"}]\n`, /webhooks: url must/],
		'an empty name in webhooks': [`${app}webhooks = [{"url":"https://a.example/","headers":{"":"x"}}]\n`, /webhooks: headers must/],
	};
	const check = async (args, env = {}) => {
		const child = start(PROGRAM, [...args, '--check-config'], { env: { PATH: process.env.PATH, ...env } });
		const { code } = await child.ended;
		return [code, child.log];
	};
	for (const [name, [text, reported]] of Object.entries(FILES))
		test(name, async () => {
			fs.writeFileSync(file, Buffer.from(text, 'latin1'), { mode: 0o600 });
			const [code, log] = await check(['--config', file]);
			assert.equal(code, reported ? 78 : 0, log);
			if (reported) assert.match(log, reported);
		});

	test('a byte that is no UTF-8 in the environment and on the command line', async () => {
		fs.writeFileSync(file, app, { mode: 0o600 });
		// Node writes UTF-8 only; the shell passes any byte.
		for (const command of [`SCOPEWIRE_SERVER_NODE=$(printf 'a\\377') exec "$0" "$@"`,
			`exec "$0" "$@" "--server-node=$(printf 'a\\377')"`]) {
			const child = start('sh', ['-c', command, PROGRAM, '--config', file, '--check-config']);
			const { code } = await child.ended;
			assert.notEqual(code, 0, child.log);
			assert.match(child.log, /is not UTF-8/);
		}
	});

	test('in a .env file', async () => {
		const env = path.join(folder, '.env');
		const of = (more) => `REVERB_APP_ID=1\nREVERB_APP_KEY=k\nREVERB_APP_SECRET=s\n${more}\n`;
		for (const [more, reported] of [
			['REVERB_APP_MAX_CONNECTIONS=1e3', /REVERB_APP_MAX_CONNECTIONS = 1e3: must be/],
			['REVERB_APP_MAX_CONNECTIONS=-0', /REVERB_APP_MAX_CONNECTIONS = -0: must be/],
			['REVERB_APP_MAX_CONNECTIONS=18446744073709551616', /must be/],
			['=5', /\.env:4: /], ['A=\xed\xa0\x80', /is not UTF-8/], ['A=\0', /NUL/],
			[`REVERB_APP_KEY=${'k'.repeat(9000)}`, null], ['A=1\nA=2', null]]) {
			fs.writeFileSync(env, Buffer.from(of(more), 'latin1'), { mode: 0o600 });
			const [code, log] = await check(['--env-file', env]);
			assert.equal(code, reported ? 78 : 0, `${more.slice(0, 60)}: ${log}`);
			if (reported) assert.match(log, reported);
		}
	});
});
