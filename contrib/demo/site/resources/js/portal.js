// SPDX-License-Identifier: MIT
// The portal in the browser: one RealtimeManager, the elements, and forms that are sent without a reload.
import Echo from 'laravel-echo';
import Pusher from 'pusher-js';
import { RealtimeManager } from 'scopewire';
import { followInvoices, showInvoice } from './invoices.js';

const meta = (name) => document.querySelector(`meta[name="${name}"]`).content;
const host = location.hostname;
const port = Number(meta('portal-port'));

window.Pusher = Pusher;
const echo = new Echo({ broadcaster: 'reverb', key: meta('portal-key'), wsHost: host, wsPort: port, forceTLS: false,
	enabledTransports: ['ws'] });      // the policy of the page does not permit wss

/** The page brings the first token. */
let token = document.querySelector('meta[name="scopewire-token"]')?.content;

const manager = new RealtimeManager({
	echo,
	token: async () => {
		const first = token;
		token = undefined;
		if (first) return first;
		const response = await fetch(meta('scopewire-token-url'), { headers: { Accept: 'application/json' } });
		if (!response.ok) throw Object.assign(new Error('there is no token'), { status: response.status });
		return (await response.json()).token;
	},
	loginUrl: '/login',
	authorizer: { endpoint: `http://${host}:${port}/broadcasting/auth` },
	presence: { location: location.pathname },
	changesEndpoint: '/scopewire/changes',
	storage: sessionStorage,
	leader: true,
	showBadge: true,
});
window.manager = manager;
followInvoices(manager);

/** A form with data-post: sent with X-Socket-Id, so that toOthers() leaves this tab out. */
async function send(form) {
	const problem = form.querySelector('.problem') ?? form.parentElement.querySelector('.problem');
	const button = form.querySelector('button');
	if (problem) problem.textContent = '';
	if (button) button.disabled = true;
	try {
		const response = await manager.fetch(form.dataset.post, { method: 'POST', body: new FormData(form),
			headers: { Accept: 'application/json', 'X-CSRF-TOKEN': meta('csrf-token') } });
		if (response.status === 401 || response.status === 419) throw new Error('You are signed out. Sign in again in another window.');
		if (response.status >= 500) throw new Error('The server has a problem. Try again in a moment.');
		const answer = await response.json();
		if (!response.ok) throw new Error(answer.message);
		if (answer.invoice) showInvoice(answer.invoice);
		if ('clears' in form.dataset) form.reset();
		if ('reload' in form.dataset) await document.querySelector('scopewire-project-updates').reload();
	} catch (error) {
		if (problem) problem.textContent = error instanceof TypeError ? 'The server cannot be reached.' : error.message;
	} finally {
		if (button) button.disabled = false;
	}
}

/** What the server would refuse only after the whole upload. */
function isTooLarge(input) {
	const most = Number(input.dataset.most);
	const file = [...input.files].find((f) => f.size > most);
	const problem = input.closest('section').querySelector('.problem');
	problem.textContent = file ? `${file.name} is larger than ${most / 1048576} MB.` : '';
	return file !== undefined;
}

document.addEventListener('submit', (event) => {
	if (!event.target.dataset.post) return;
	event.preventDefault();
	void send(event.target);
});
document.addEventListener('change', ({ target }) => {
	if (!('submits' in target.dataset) || !target.value) return;
	if (isTooLarge(target)) target.value = '';
	else void send(target.form).then(() => { target.value = ''; });
});

/** In a narrow window the projects are a row that scrolls: the current one is in it. */
document.querySelector('.side [aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'nearest' });
