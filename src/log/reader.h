/* SPDX-License-Identifier: MIT */
#ifndef LOG_READER_H
#define LOG_READER_H
/*
 * Reads the event log page by page, over connections of its own, for sessions that catch up
 * (core/sessions/catch_up.h) and for cache channels.  Equal requests share one statement: many
 * clients that come back at the same time are at few positions.  The applications take turns.
 */
#include "conf/conf.h"
#include "core/channels/directory.h"
#include "core/log_page.h"

struct pg_pool;
struct reader;

/* conf and conninfo outlive it.  is_cluster: other nodes may have published the last event of a
 * cache channel, also one that is not in the log. */
struct reader *reader_new(const struct conf_database *conf, const char *conninfo, bool is_cluster)
	MUSTCHECK;
/* 0 or -errno.  Pages go through the directory, which outlives reader_stop(). */
int reader_start(struct reader *r, struct directory *d) MUSTCHECK;
/* Requests that wait, and later ones, are answered LOG_UNAVAILABLE. */
void reader_stop(struct reader *r); /* NULL is fine */
void reader_free(struct reader *r); /* NULL is fine */

/* A connection for queries that run long. */
struct pg_pool *reader_history_pool(struct reader *r);

/* What a session needs of the reader; as long as r. */
const struct log_reader *reader_interface(const struct reader *r);
/*
 * Reads the channel's last event, unless it has expired, into the directory's cache; then calls
 * done(ctx, rc), on any thread, with 0 or -EHOSTDOWN.
 */
void reader_read_cached(struct reader *r, struct app *app, struct str_view channel,
			void (*done)(void *ctx, int rc), void *ctx);
#endif
