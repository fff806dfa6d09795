/* SPDX-License-Identifier: MIT */
#ifndef SVC_PUBLISH_H
#define SVC_PUBLISH_H
/*
 * Every event that is published by HTTP passes here: the channels of a publish are sorted by their
 * durability, events that need no commit are fanned out at once, the others are appended to the
 * log's queue, and the caller gets the answer when all are as durable as the application requires.
 */
#include "core/channels/directory.h"
#include "core/event.h"

struct bus;
struct control;
struct log_queue;
struct publisher;

struct publish_item {
	struct str_view name;
	struct str_view data;
	const struct str_view *channels; /* valid names, no repeats */
	size_t n_channels;
	uint64_t exclude_socket;
};

/* An idempotency key as the request has it. */
struct publish_key {
	struct str_view key, digest, answer;
};

struct publish_request {
	struct app *app;
	const struct publish_item *items;
	size_t n;
	const struct publish_key *key; /* NULL: none */
};

/* d, queue and bus outlive it.  queue NULL (no database): what needs a row is answered -EHOSTDOWN;
 * bus NULL: there are no other nodes. */
struct publisher *publisher_new(struct directory *d, struct log_queue *queue, struct bus *bus,
				unsigned commit_timeout_ms) MUSTCHECK;
void publisher_free(struct publisher *p); /* NULL is fine */

/*
 * Publishes all items of r as one: done(ctx, rc) is called exactly once, before or after this
 * returns, on any thread, with 0, -EAGAIN (queues full), -EHOSTDOWN or -ETIMEDOUT (database
 * away), -EINVAL (the database refused the content).
 * With r->key all of it, whatever its durability, waits for a commit that has the key
 * in it; -EEXIST: the key exists.  key is valid until done.
 * On an error nothing was delivered, though a commit that was under way when -ETIMEDOUT was
 * answered may still succeed.  Everything else is copied.
 */
void publish_submit(struct publisher *p, const struct publish_request *r,
		    void (*done)(void *ctx, int rc), void *ctx);
/*
 * Ends what c names (log/control.h), on every node: in a cluster it is a row of the log,
 * and done gets 0 when the row is committed and this node has acted.  A daemon that is alone acts
 * at once, with or without a database.  Otherwise as publish_submit().
 */
void publish_control(struct publisher *p, struct app *app, const struct control *c,
		     void (*done)(void *ctx, int rc), void *ctx);
/* This node's number in the cluster; 0: none yet, or the daemon is alone.  Any thread. */
unsigned publish_node(const struct publisher *p);
#endif
