// SPDX-License-Identifier: MIT
// What all calls of the sync API have in common, over TLS.
process.env.SCOPEWIRE_TEST_TLS = '1';
await import('./sync_base.test.mjs');
