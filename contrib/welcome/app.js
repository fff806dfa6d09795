// SPDX-License-Identifier: MIT
// The demo page: two panes, each with a connection and a user of its own.
// With ?user=NAME it shows one pane, for a real second window.
import { Client } from './client.js';

const FEED = 'demo';                    // published events
const ROOM = 'presence-demo';           // members and typing
const CARDS = 60;                       // shown in a feed at most
const STORE = 'scopewire-demo';         // what a reload finds again
const TYPING_MS = 1800;

const PRESETS = [
	{ name: 'InvoiceCreated', data: () => ({ number: `INV-${1000 + random(9000)}`,
		client: pick(['Northwind', 'Acme', 'Globex', 'Initech']), amount: `${100 + random(4900)}.00 €` }) },
	{ name: 'ProjectUpdated', data: () => ({ project: pick(['Website', 'Mobile app', 'Annual report']),
		progress: `${5 * (1 + random(20))} %` }) },
	{ name: 'FileUploaded', data: () => ({ file: pick(['contract.pdf', 'logo.svg', 'budget.xlsx']),
		size: `${1 + random(900)} KB` }) },
	{ name: 'TimeEntryUpdated', data: () => ({ task: pick(['Design', 'Review', 'Support']),
		hours: (1 + random(15)) / 2 }) },
];

const $ = (selector, root = document) => root.querySelector(selector);
const random = (n) => Math.floor(Math.random() * n);
const pick = (list) => list[random(list.length)];
const hash = (text) => [...text].reduce((h, c) => (h * 33 + c.codePointAt(0)) % 65521, 5381);
const hue = (text) => Math.round(hash(text) * 137.508) % 360;
const isMap = (v) => v !== null && typeof v === 'object' && !Array.isArray(v);

function element(tag, className, ...children) {
	const e = document.createElement(tag);
	if (className) e.className = className;
	e.append(...children);
	return e;
}

async function post(path, body) {
	const response = await fetch(path, { method: 'POST', body: JSON.stringify(body),
		headers: { 'Content-Type': 'application/json' } });
	if (!response.ok) throw new Error((await response.text()).slice(0, 200));
	return response.json();
}

const eventBody = (channel, name, data) => ({ channel, name, data: JSON.stringify(data) });
const publish = (channel, name, data, more = {}) =>
	post('/demo/publish', { ...eventBody(channel, name, data), ...more });
const plural = (n, word) => `${n} ${word}${n === 1 ? '' : 's'}`;

/** The frames that a window shows, and its position: an application stores both for a reload. */
class Memory {
	constructor(name) {
		this.key = `${STORE}-${name}`;
		try {
			Object.assign(this, JSON.parse(sessionStorage.getItem(this.key)) ?? {});
		} catch { /* of an older version of the page */ }
		this.frames ??= [];
		this.positions ??= {};
	}

	save(positions, frame = undefined) {
		this.positions = Object.fromEntries(positions);
		if (frame) this.frames = [...this.frames, frame].slice(-CARDS);
		try {
			sessionStorage.setItem(this.key,
				JSON.stringify({ frames: this.frames, positions: this.positions }));
		} catch { /* full or forbidden: a reload begins anew */ }
	}
}

// ---- one pane -----------------------------------------------------------

class Pane {
	constructor(config, name) {
		this.config = config;
		this.memory = new Memory(name);
		this.user = { id: name.toLowerCase(), name };
		this.members = new Map();
		this.typists = new Map();
		this.root = $('#pane').content.firstElementChild.cloneNode(true);
		this.root.setAttribute('aria-label', `${name}’s window`);
		this.#dress();
		const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
		this.client = new Client(`${scheme}://${location.host}${config.path}/app/${config.key}`,
			(socket_id, channel_name) =>
				post('/demo/auth', { socket_id, channel_name, user: this.user }),
			this.memory.positions);
		this.#listen();
		for (const { frame, data, at } of this.memory.frames) this.#card(data, frame, { at, kept: true });
		this.client.connect();
	}

	#dress() {
		const { name } = this.user;
		const address = $('.address', this.root);
		address.href = `?user=${encodeURIComponent(name)}`;
		address.textContent = `${location.host}/?user=${name}`;
		const input = $('.compose input', this.root);
		input.placeholder = `Comment as ${name}`;
		input.setAttribute('aria-label', `Comment as ${name}`);
		input.addEventListener('input', () => this.#type(input.value !== ''));
		$('.compose', this.root).addEventListener('submit', (event) => this.#say(event, input));
		$('[data-act=toggle]', this.root).addEventListener('click', () => this.#toggle());
	}

	#listen() {
		const { client } = this;
		client.addEventListener('state', ({ detail }) => this.#showState(detail));
		client.addEventListener('latency', ({ detail }) => this.#fact('latency', `round trip ${detail.toFixed(1)} ms`));
		client.addEventListener('error', ({ detail }) => this.#fact('socket', detail.message ?? ''));
		client.on(ROOM, 'pusher_internal:subscription_succeeded', ({ presence }) => {
			this.members = new Map(Object.entries(presence.hash));
			this.#showMembers();
			client.ping();
		}).on(ROOM, 'pusher_internal:member_added', ({ user_id, user_info }) => {
			this.members.set(user_id, user_info);
			this.#showMembers();
		}).on(ROOM, 'pusher_internal:member_removed', ({ user_id }) => {
			this.members.delete(user_id);
			this.#typing(user_id, false);
			this.#showMembers();
		}).on(ROOM, 'client-typing', ({ typing }, { user_id }) => this.#typing(user_id, typing));
		client.on(FEED, 'pusher_internal:subscription_succeeded', (data, { position }) => {
			this.replaying = this.memory.positions[FEED] !== undefined && position !== undefined;
			this.memory.save(client.positions);
		}).on(FEED, '*', (data, frame) => {
			const at = Date.now();
			this.memory.save(client.positions, { frame, data, at });
			this.#card(data, frame, { at, missed: this.replaying });
		});
		client.addEventListener('replayed', ({ detail }) => {
			this.memory.save(client.positions);
			if (detail.channel !== FEED) return;      // another channel's replay may end before
			this.replaying = false;
			if (detail.count > 0)
				this.#notice(`${plural(detail.count, 'event')} recovered`);
		});
		client.addEventListener('resync', ({ detail }) => {
			if (detail.channel === FEED) this.replaying = false;
			this.memory.save(client.positions);
			this.#notice(`The log cannot replay from here (${detail.reason}): an application fetches its state`);
		});
	}

	/** A line above the feed, for some seconds. */
	#notice(text) {
		const line = $('.notice', this.root);
		line.textContent = text;
		line.classList.add('on');
		clearTimeout(this.noticed);
		this.noticed = setTimeout(() => line.classList.remove('on'), 8000);
	}

	#toggle() {
		if (['disconnected', 'refused'].includes(this.client.state)) {
			this.client.wanted = true;
			this.client.connect();
		} else {
			this.client.disconnect();
		}
	}

	#showState(state) {
		this.root.dataset.state = state;
		$('.state b', this.root).textContent = state;
		$('[data-act=toggle]', this.root).textContent =
			['disconnected', 'refused'].includes(state) ? 'Connect' : 'Disconnect';
		if (state === 'connected') return this.#fact('socket', `socket ${this.client.socketId}`);
		this.#fact('latency', '');
		this.#fact('socket', '');
		this.members.clear();
		this.#showMembers();
	}

	#fact(name, text) {
		$(`[data-fact=${name}]`, this.root).textContent = text;
	}

	#showMembers() {
		const list = $('.here ul', this.root);
		const known = new Map([...list.children].map((li) => [li.dataset.id, li]));
		for (const [id, li] of known) if (!this.members.has(id)) li.remove();
		for (const [id, info] of this.members) {
			if (known.has(id)) continue;
			const name = String(info?.name ?? id);
			const face = element('span', 'face', [...name][0].toUpperCase());
			face.setAttribute('aria-hidden', 'true');
			const li = element('li', '', face, id === this.user.id ? `${name} (you)` : name);
			li.dataset.id = id;
			li.style.setProperty('--hue', hue(id));
			list.append(li);
		}
	}

	// -- typing: a client event, received by the other clients only and never stored

	#type(typing) {
		clearTimeout(this.quiet);
		if (typing) this.quiet = setTimeout(() => this.#type(false), TYPING_MS);
		if (typing === this.typed && performance.now() - this.typedAt < TYPING_MS / 2) return;
		Object.assign(this, { typed: typing, typedAt: performance.now() });
		this.client.whisper(ROOM, 'typing', { typing });
	}

	#typing(id, typing) {
		clearTimeout(this.typists.get(id));
		this.typists.delete(id);
		if (typing) this.typists.set(id, setTimeout(() => this.#typing(id, false), 2 * TYPING_MS));
		const names = [...this.typists.keys()].map((k) => this.members.get(k)?.name ?? k);
		const line = $('.typing', this.root);
		line.classList.toggle('on', names.length > 0);
		line.replaceChildren();
		if (!names.length) return;
		line.append(`${names.join(' and ')} ${names.length > 1 ? 'are' : 'is'} typing`,
			element('span', 'wave', element('i'), element('i'), element('i')));
	}

	async #say(event, input) {
		event.preventDefault();
		const text = input.value.trim();
		if (!text) return;
		input.value = '';
		this.#type(false);
		try {
			await publish(FEED, 'CommentAdded', { author: this.user.name, text, sent_at: Date.now() });
		} catch (error) {
			input.value = text;
			this.#fact('socket', error.message);
		}
	}

	// -- the feed

	#card(data, frame, { at = Date.now(), missed = false, kept = false } = {}) {
		const fields = isMap(data) ? { ...data } : { data };
		const sent = fields.sent_at;
		delete fields.sent_at;
		const latency = typeof sent === 'number' && !missed ? at - sent : null;
		const card = element('li', `card${missed ? ' missed' : ''}${kept ? ' kept' : ''}`,
			this.#cardHead(frame, at, missed), cardBody(frame.event, fields),
			cardFoot(frame, latency, () => this.#toggleRow(card, frame)));
		card.style.setProperty('--hue', hue(frame.event));
		const feed = $('.feed', this.root);
		feed.prepend(card);
		while (feed.children.length > CARDS) feed.lastElementChild.remove();
	}

	#cardHead(frame, at, missed) {
		const time = element('time', '', new Date(at).toLocaleTimeString([], { hour12: false }));
		const head = element('div', 'card-head', element('b', '', shortName(frame.event)), time);
		if (missed) time.before(element('span', 'badge', 'recovered'));
		return head;
	}

	/** The event's row in the log, as psql prints it. */
	async #toggleRow(card, frame) {
		const shown = $('.row', card);
		if (shown) return shown.remove();
		const box = element('div', 'row');
		card.append(box);
		try {
			const found = await (await fetch(`/demo/events?channels=${encodeURIComponent(frame.channel)}` +
				`&event=${encodeURIComponent(frame.event)}&order=newest&limit=500`)).json();
			const row = found.events?.find(({ id }) => id === frame.id);
			if (!row) throw new Error(found.error?.message ?? 'The event is not in the log.');
			box.append(element('pre', '', psqlRow(row)));
			if (this.config.psql)
				box.append(element('code', '', `${this.config.psql} -x -c ` +
					`"SELECT * FROM scopewire.realtime_events WHERE event_id = '${row.id}'"`));
		} catch (error) {
			box.append(element('p', 'problem', error.message));
		}
		return undefined;
	}
}

const shortName = (event) => event.split('\\').pop();

function cardBody(event, fields) {
	if (event === 'CommentAdded' && fields.author && fields.text)
		return element('p', 'said', element('b', '', `${fields.author} `), String(fields.text));
	const list = element('dl');
	for (const [name, value] of Object.entries(fields))
		list.append(element('div', '', element('dt', '', name),
			element('dd', '', typeof value === 'object' ? JSON.stringify(value) : String(value))));
	return list;
}

/** As psql -x prints the columns that the sync API has of a row. */
function psqlRow(row) {
	const columns = { serial: row.serial, event_id: row.id, channel: row.channel, event_type: row.event,
		payload: row.data, delivered: row.delivered ? 't' : 'f', created_at: row.created_at };
	return Object.entries(columns).map(([name, value]) => `${name.padEnd(10)} | ${value}`).join('\n');
}

/** The event's id and serial, its latency, and a button for its row. */
function cardFoot(frame, latency, onRow) {
	const foot = element('div', 'card-foot');
	const add = (label, value, title) => {
		const e = element('span', '', `${label} `, element('b', '', value));
		if (title) e.title = title;
		foot.append(e);
	};
	if (frame.serial !== undefined) add('serial', String(frame.serial));
	if (frame.id) add('id', `…${String(frame.id).slice(-6)}`, String(frame.id));
	if (latency !== null) add('publish to here', `${Math.max(0, latency)} ms`);
	if (frame.id) {
		const button = element('button', 'link', 'row in PostgreSQL');
		button.type = 'button';
		button.addEventListener('click', onRow);
		foot.append(button);
	}
	return foot;
}

// ---- publishing ---------------------------------------------------------

const quote = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

function curlLine(body) {
	return `curl ${location.origin}/demo/publish \\\n  -H 'Content-Type: application/json' \\\n` +
		`  -d ${quote(JSON.stringify(body))}`;
}

class Publisher {
	constructor(form) {
		this.form = form;
		this.problem = $('#problem');
		for (const preset of PRESETS) {
			const button = element('button', '', preset.name);
			button.type = 'button';
			button.addEventListener('click', () => this.#fill(preset));
			$('#presets').append(button);
		}
		form.addEventListener('input', () => this.#showCurl());
		form.addEventListener('submit', (event) => this.#submit(event));
		$('#copy').addEventListener('click', (event) => this.#copy(event.target));
		this.#fill(PRESETS[0]);
	}

	#fill(preset) {
		$('#published').textContent = '';
		this.preset = preset;
		this.form.name.value = preset.name;
		this.form.data.value = JSON.stringify(preset.data(), null, 2);
		this.#showCurl();
	}

	/** {channel, name, data}, or null with the reason shown. */
	#read() {
		const { channel, name, data } = this.form;
		try {
			const value = JSON.parse(data.value || '{}');
			this.problem.textContent = '';
			return { channel: channel.value, name: name.value, data: value };
		} catch (error) {
			this.problem.textContent = `The data is not JSON: ${error.message}`;
			return null;
		}
	}

	#showCurl() {
		const event = this.#read();
		if (event) $('#curl').textContent = curlLine(eventBody(event.channel, event.name, event.data));
	}

	async #submit(submit) {
		submit.preventDefault();
		const event = this.#read();
		if (!event) return;
		const data = isMap(event.data) ? { ...event.data, sent_at: Date.now() } : event.data;
		try {
			const { channels } = await publish(event.channel, event.name, data,
				{ info: 'subscription_count' });
			if (this.preset?.name === event.name) this.#fill(this.preset);
			const reached = channels?.[event.channel]?.subscription_count ?? 0;
			$('#published').textContent = reached
				? `Stored, and sent to ${plural(reached, 'connection')}`
				: 'Stored; no client is subscribed to this channel now';
		} catch (error) {
			this.problem.textContent = error.message;
		}
	}

	async #copy(button) {
		try {
			await navigator.clipboard.writeText($('#curl').textContent);
			button.textContent = 'Copied';
		} catch {
			getSelection().selectAllChildren($('#curl'));
			button.textContent = 'Selected';
		}
		setTimeout(() => { button.textContent = 'Copy'; }, 1500);
	}
}

// ---- start --------------------------------------------------------------

async function main() {
	const config = await (await fetch('/demo/config')).json();
	const single = new URLSearchParams(location.search).get('user')?.trim().slice(0, 40);
	const names = single ? [single] : ['Ada', 'Grace'];
	if (single) {
		document.body.classList.add('single');
		$('#tagline').textContent = `${single}’s window. Open another one beside it.`;
	}
	for (const name of names) $('#panes').append(new Pane(config, name).root);
	new Publisher($('#publish'));
}

main().catch((error) => {
	$('#panes').append(element('p', 'noscript', `The demo cannot start: ${error.message}`));
});
