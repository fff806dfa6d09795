// SPDX-License-Identifier: MIT
// The cases of cluster_cache.test.mjs with cluster.driver = redis.
process.env.SCOPEWIRE_TEST_BUS = 'redis';
await import('./cluster_cache.test.mjs');
