// SPDX-License-Identifier: MIT
// Publishes that wait for a worker, over TLS.
process.env.SCOPEWIRE_TEST_TLS = '1';
await import('./overload.test.mjs');
