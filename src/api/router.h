/* SPDX-License-Identifier: MIT */
#ifndef API_ROUTER_H
#define API_ROUTER_H
/*
 * The HTTP API: one table says which method and path go where, who may call and which rate
 * limit counts it.  Works at the root and under the configured path prefix.
 */
#include "conf/conf.h"
#include "core/directory.h"
#include "pg/pool.h"
#include "svc/authorize.h"
#include "svc/idempotency.h"
#include "svc/presence_db.h"
#include "svc/publish.h"
#include "log/reader.h"
#include "api/request.h"
#include "svc/viewers.h"

/* What handlers work with; all of it outlives the transports. */
struct http_services {
	const struct conf *conf; /* server.path, server.demo, server.demo_dir */
	struct directory *directory;
	struct publisher *publisher;
	struct pg_pool *pool;	  /* of the sync API */
	struct idempotency *once; /* publishes with an idempotency key */
	struct replay *replay;	  /* reads the log; NULL without a database */
	struct presence_db *presence;
	struct viewers *viewing;
	struct authorizer *authorizer; /* channel rules */
};

/* Fills api, which keeps pointing to services. */
void router_init(struct api *api, const struct http_services *services);
#endif
