// SPDX-License-Identifier: MIT
// The history of the event log, over TLS.
process.env.SCOPEWIRE_TEST_TLS = '1';
await import('./history.test.mjs');
