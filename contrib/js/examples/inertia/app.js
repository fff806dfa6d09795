// SPDX-License-Identifier: MIT
import { createInertiaApp, router } from '@inertiajs/vue3';
import { createApp, h } from 'vue';
import About from './About.vue';
import Invoices from './Invoices.vue';
import { manager } from './manager.js';

const pages = { About, Invoices };

// So that toOthers() leaves this tab out.
router.on('before', ({ detail: { visit } }) => {
	if (manager.socketId) visit.headers['X-Socket-ID'] = manager.socketId;
});

createInertiaApp({
	progress: false,       // its style is inline
	resolve: (name) => pages[name],
	setup({ el, App, props, plugin }) {
		createApp({ render: () => h(App, props) }).use(plugin).mount(el);
	},
});
