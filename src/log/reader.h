/* SPDX-License-Identifier: MIT */
#ifndef LOG_READER_H
#define LOG_READER_H
/*
 * Reads the event log for sessions that catch up (core/catch_up.h) and for cache channels, page by
 * page, over connections of its own.  Who asks for the same page while it is read shares it: many
 * clients that come back at once stand at few positions.
 */
#include "conf/conf.h"
#include "core/directory.h"
#include "core/log_page.h"

struct pg_pool;
struct replay;

/* conf and conninfo outlive it. */
struct replay *replay_new(const struct conf_database *conf, const char *conninfo) MUSTCHECK;
/* 0 or -errno.  Pages go through the directory, which outlives replay_stop(). */
int replay_start(struct replay *r, struct directory *d) MUSTCHECK;
/* What waits, and what is still asked, is answered LOG_UNAVAILABLE. */
void replay_stop(struct replay *r); /* NULL is fine */
void replay_free(struct replay *r); /* NULL is fine */

/* A connection for long looks into the log. */
struct pg_pool *replay_history_pool(struct replay *r);

/* For sessions; as long as r. */
const struct log_reader *replay_reader(const struct replay *r);
/*
 * Reads the channel's last event, if it is still good, into the directory's cache; then calls
 * done(ctx, rc), on any thread, with 0 or -EHOSTDOWN.
 */
void replay_read_cached(struct replay *r, struct app *app, struct str_view channel,
			void (*done)(void *ctx, int rc), void *ctx);
#endif
