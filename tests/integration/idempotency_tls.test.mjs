// SPDX-License-Identifier: MIT
// Publishes with an idempotency key, over TLS.
process.env.SCOPEWIRE_TEST_TLS = '1';
await import('./idempotency.test.mjs');
