// SPDX-License-Identifier: MIT
// The sync API as docs/openapi.yaml describes it, over TLS.
process.env.SCOPEWIRE_TEST_TLS = '1';
await import('./sync_contract.test.mjs');
