// SPDX-License-Identifier: MIT
import { configureEcho, echo } from '@laravel/echo-react';
import { createRoot } from 'react-dom/client';
import { RealtimeManager } from 'scopewire';
import { Portal } from './Portal.jsx';

const { key, port } = await (await fetch('/config')).json();
configureEcho({ broadcaster: 'reverb', key, wsHost: location.hostname, wsPort: port, forceTLS: false,
	enabledTransports: ['ws'] });
window.manager = new RealtimeManager({      // before the first component subscribes
	echo: echo(),
	token: async () => (await (await fetch(`/token${location.search}`)).json()).token,
	authorizer: { endpoint: `http://${location.hostname}:${port}/broadcasting/auth` },
});
createRoot(document.getElementById('app')).render(<Portal />);
