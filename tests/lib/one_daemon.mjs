// SPDX-License-Identifier: MIT
// The one list of what SCOPEWIRE_TEST_NODES leaves out, with the reason: files that are about one daemon by
// their nature, and single tests, which run but do not count.  tests/scenarios/wire.test.mjs has a list of its
// own, of scenarios.
import path from 'node:path';

const FILES = {
	'cluster.test.mjs': 'starts nodes of its own',
	'dotenv.test.mjs': 'reads files, without a daemon',
	'embedded.test.mjs': 'an embedded PostgreSQL belongs to one daemon',
	'first_week.test.mjs': 'commands for one machine and its admin listener',
	'monitoring.test.mjs': 'metrics are of one process',
	'moving.test.mjs': 'supervisord starts the daemon',
	'prometheus.test.mjs': 'metrics are of one process',
	'restart.test.mjs': 'one daemon inherits a listening socket',
	'supervisor.test.mjs': 'supervisord starts the daemon',
};
const TESTS = {};

const isOn = () => process.env.SCOPEWIRE_TEST_NODES > 1;

/** Why the file is left out; undefined when it is not. */
export const leftOut = (file) => (isOn() ? FILES[path.basename(file)] : undefined);

/** Why the result of the test of this name does not count; undefined when it does. */
export const testLeftOut = (name) => (isOn() ? TESTS[name] : undefined);

/** Whether a daemon with these options is one and not several nodes. */
export const isOfOneDaemon = (options) => Boolean(leftOut(process.argv[1] ?? '') || options.embedded
	|| (options.databaseMode === 'none' && !options.envFile));
