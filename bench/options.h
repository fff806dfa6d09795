/* SPDX-License-Identifier: MIT */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H
/*
 * The options of the load generator; options_parse() has the meaning of each.
 */
#include <sys/types.h>
#include "util.h"

#define OPTIONS_CHECKPOINTS 16

struct options {
	const char *host, *key, *secret, *app_id, *prefix;
	const char *sql; /* publishers commit there; NULL: they use HTTP */
	unsigned port, publish_port;
	pid_t pid;
	uint32_t connections, channels, publishers, inflight;
	size_t size;
	uint64_t rate, count, window;
	double seconds;
	uint32_t checkpoint[OPTIONS_CHECKPOINTS];
	unsigned checkpoints;
	bool has_tls;	 /* of the subscribers */
	bool is_whisper; /* client events: connection i publishes on channel i */
};

/* Reads the command line over the values that *o has; exits on --help and on errors. */
void options_parse(int argc, char **argv, struct options *o);
#endif
