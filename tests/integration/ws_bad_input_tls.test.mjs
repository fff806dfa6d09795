// SPDX-License-Identifier: MIT
// What no well-behaved WebSocket client sends, over TLS.
process.env.SCOPEWIRE_TEST_TLS = '1';
await import('./ws_bad_input.test.mjs');
