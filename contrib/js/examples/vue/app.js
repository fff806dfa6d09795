// SPDX-License-Identifier: MIT
import { configureEcho, echo } from '@laravel/echo-vue';
import { RealtimeManager } from 'scopewire';
import { createApp } from 'vue';
import App from './App.vue';

const { key, port } = await (await fetch('/config')).json();
configureEcho({ broadcaster: 'reverb', key, wsHost: location.hostname, wsPort: port, forceTLS: false,
	enabledTransports: ['ws'] });
window.Echo = echo();
window.manager = new RealtimeManager({      // before the first component subscribes
	echo: echo(),
	token: async () => (await (await fetch(`/token${location.search}`)).json()).token,
	authorizer: { endpoint: `http://${location.hostname}:${port}/broadcasting/auth` },
});
createApp(App).mount('#app');
