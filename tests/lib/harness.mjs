// SPDX-License-Identifier: MIT
// What integration and end-to-end tests import.
export { APP, Daemon, PROGRAM, ini, runDaemon, startDaemon } from './daemon.mjs';
export { Api, channelAuth, hmac, md5, request, signedQuery, userAuth } from './api.mjs';
export { certificate } from './certificate.mjs';
export { MAX_CONNECTIONS, binaries, clusterSocket, newDatabase, query, startCluster } from './cluster.mjs';
export { startPooler } from './pooler.mjs';
export { Raw, frame, parseFrames } from './raw.mjs';
export { Wire, matches } from './wire.mjs';
export { Wires } from './wires.mjs';
export { end, logged, start, unprivileged } from './process.mjs';
export { useEverything } from './everything.mjs';
export { freePort, freePorts, tempFolder } from './temp.mjs';
export { suiteAgent, suiteCertificate, suiteGet, tlsServer } from './tls.mjs';
export { Redis, startRedis, startRedisCluster } from './redis.mjs';
export { bus, live, node, redis, rows, startNodes } from './nodes.mjs';
export { randomFrom } from './random.mjs';
export { receiver } from './receiver.mjs';
export { Sync, authorize, failed, join, jwt, ok, userToken, withoutEvent } from './sync.mjs';
export { DEADLINE_MS, pause, waitFor, within } from './wait.mjs';
