// SPDX-License-Identifier: MIT
// The cases of cluster_nodes.test.mjs with cluster.driver = redis.
process.env.SCOPEWIRE_TEST_BUS = 'redis';
await import('./cluster_nodes.test.mjs');
