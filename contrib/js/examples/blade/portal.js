// SPDX-License-Identifier: MIT
import Echo from 'laravel-echo';
import Pusher from 'pusher-js';
import { RealtimeManager } from 'scopewire';

const meta = (name) => document.querySelector(`meta[name="${name}"]`).content;
const host = location.hostname;
const port = Number(meta('scopewire-port'));

window.Pusher = Pusher;
const echo = new Echo({ broadcaster: 'reverb', key: meta('scopewire-key'), wsHost: host, wsPort: port,
	forceTLS: false, enabledTransports: ['ws'] });

window.manager = new RealtimeManager({
	echo,
	token: async () => (await (await fetch(`/token${location.search}`)).json()).token,
	authorizer: { endpoint: `http://${host}:${port}/broadcasting/auth` },
	storage: sessionStorage,
	leader: true,
	showBadge: true,
});
