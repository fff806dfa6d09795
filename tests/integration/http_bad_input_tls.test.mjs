// SPDX-License-Identifier: MIT
// What no well-behaved caller sends, over TLS.
process.env.SCOPEWIRE_TEST_TLS = '1';
await import('./http_bad_input.test.mjs');
