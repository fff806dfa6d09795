// SPDX-License-Identifier: MIT
// The HTTP API, over TLS.
process.env.SCOPEWIRE_TEST_TLS = '1';
await import('./http_api.test.mjs');
