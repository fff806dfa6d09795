// SPDX-License-Identifier: MIT
// Runs before Livewire starts, which is when the page has been read: Livewire listens with window.Echo.
import Echo from 'laravel-echo';
import Pusher from 'pusher-js';
import { RealtimeManager } from 'scopewire';

const meta = (name) => document.querySelector(`meta[name="${name}"]`).content;
const host = location.hostname;
const port = Number(meta('scopewire-port'));

window.Pusher = Pusher;
window.Echo = new Echo({ broadcaster: 'reverb', key: meta('scopewire-key'), wsHost: host, wsPort: port,
	forceTLS: false, enabledTransports: ['ws'] });
window.manager = new RealtimeManager({
	echo: window.Echo,
	token: async () => (await (await fetch(`/token${location.search}`)).json()).token,
	authorizer: { endpoint: `http://${host}:${port}/broadcasting/auth` },
});
window.manager.on('resync', () => window.Livewire.dispatch('invoices-missed'));
