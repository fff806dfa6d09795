// SPDX-License-Identifier: MIT
// What goes wrong around the sync API, over TLS.
process.env.SCOPEWIRE_TEST_TLS = '1';
await import('./sync_faults.test.mjs');
