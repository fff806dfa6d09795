/* SPDX-License-Identifier: MIT */
#ifndef SVC_PUBLISH_H
#define SVC_PUBLISH_H
/*
 * The one way in for an event: sorts a trigger's channels by durability, fans out what may go
 * at once, hands the rest to the log, and answers when all of it is as safe as was asked.
 */
#include "core/directory.h"
#include "core/event.h"

struct eventlog;
struct publisher;

struct publish_item {
	struct str_view name;
	struct str_view data;
	const struct str_view *channels; /* valid names, no repeats */
	size_t n_channels;
	uint64_t exclude_socket;
};

/* A key as the call has it; what else stands in struct event_key is added here. */
struct publish_key {
	struct str_view key, digest, answer;
};

/* log may be NULL (no database): then durable publishes answer -EHOSTDOWN. */
struct publisher *publisher_new(struct directory *d, struct eventlog *log,
				unsigned commit_timeout_ms);
/* The log, when it could not be there before the publisher; before any event. */
void publisher_set_log(struct publisher *p, struct eventlog *log);
/* From its return on the directory is not touched any more, whatever the log still commits. */
void publisher_detach(struct publisher *p);
void publisher_free(struct publisher *p);
/* For struct eventlog_hooks. */
void publisher_fan_out(void *publisher, struct event_batch *b);

/*
 * Publishes all items as one: done(ctx, rc) is called exactly once, before or after this
 * returns, on any thread, with 0, -EAGAIN (queues full), -EHOSTDOWN or -ETIMEDOUT (database
 * away), -EINVAL (the database refused the content).
 * With key (may be NULL) all of it waits for a commit, whatever its durability, that has the key
 * in it; -EEXIST: the key is taken.  key is good until done.
 * On an error nothing was delivered, though a commit that was under way when -ETIMEDOUT was
 * answered may yet come through.  Everything else is copied.
 */
void publish_submit(struct publisher *p, struct app *app, const struct publish_item *items,
		    size_t n, const struct publish_key *key, void (*done)(void *ctx, int rc),
		    void *ctx);
#endif
