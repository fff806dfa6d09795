// SPDX-License-Identifier: MIT
// The cases of cluster_control.test.mjs with cluster.driver = redis.
process.env.SCOPEWIRE_TEST_BUS = 'redis';
await import('./cluster_control.test.mjs');
