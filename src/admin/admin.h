/* SPDX-License-Identifier: MIT */
#ifndef ADMIN_ADMIN_H
#define ADMIN_ADMIN_H
/*
 * What the admin listener serves: metrics and, for operators, the state of the daemon and web
 * pages.  The public port serves nothing of it.
 */
#include "base/annotate.h"
#include "conf/conf.h"
#include "api/request.h"

struct admin;
struct directory;
struct health;
struct live_tail;
struct pg_pool;
struct publisher;
struct recorder;

/* What it serves from. */
struct admin_services {
	const struct conf *conf;
	const struct health *health;
	struct directory *directory;
	struct publisher *publisher;
	struct recorder *recorder;
	struct live_tail *live_tail;
	struct pg_pool *pool; /* of its own */
};

/* Before pg_pool_start(); copies services, which outlive it. */
struct admin *admin_new(const struct admin_services *services) MUSTCHECK;
/* Puts the tokens and local_read of a new configuration in force.  Any thread. */
void admin_reload(struct admin *a, const struct conf_admin *now);
/* Ends the streams, before the HTTP server stops. */
void admin_close(struct admin *a);
void admin_free(struct admin *a); /* after the pool was stopped; NULL is fine */
/*
 * Handles a request; admin is a struct admin, which outlives all requests.  On the http thread of
 * the admin listener; does not wait.
 */
void admin_handle(void *admin, struct request *r);
#endif
