/* SPDX-License-Identifier: MIT */
/*
 * Starts and stops the services: the pools of database connections, and what uses them; the threads
 * that read applications and delete what has expired.
 */
#include <sysexits.h>
#include "base/mem.h"
#include "pg/pool.h"
#include "bus/bus.h"
#include "conf/conf.h"
#include "conf/conninfo.h"
#include "log/housekeeper.h"
#include "svc/apps_watch.h"
#include "svc/authorize.h"
#include "svc/grants.h"
#include "svc/idempotency.h"
#include "svc/jobs.h"
#include "svc/presence_db.h"
#include "svc/quotas.h"
#include "svc/sockets.h"
#include "svc/socket_ties.h"
#include "webhook/app_auth.h"
#include "webhook/webhooks.h"
#include "ws/worker.h"
#include "daemon/daemon.h"

#define APPS_WAIT_US (5 * USEC_PER_SEC)
#define APPS_POLL_MS 5

/* The configuration of the sync API's pool; the other pools differ in a few members. */
static struct pg_pool_conf services_sync_pool_conf(const struct scopewired *d)
{
	struct pg_pool_conf pc = {
		.options = conf_pg_options(&d->conf->database, d->conninfo),
		.connections = d->conf->sync.connections,
		.max_open = d->conf->sync.max_waiting,
		.depth = 1,
		.lock_wait_ms = d->conf->sync.lock_wait_ms,
	};

	pc.options.statement_timeout_ms = d->conf->sync.statement_timeout_ms;
	pc.options.origin = "sync";
	return pc;
}

int make_services(struct scopewired *d)
{
	struct pg_pool_conf pc = services_sync_pool_conf(d);

	d->pool = pg_pool_new(&pc);
	d->jobs = jobs_new(d->pool, d->conf);
	d->presence = presence_db_new(d->pool, &d->conf->sync, bus_node_number(d->bus));
	d->sockets = sockets_new();
	d->grants = grants_new();
	d->ties = socket_ties_new(d->pool, d->sockets, &d->conf->sync,
				  presence_db_channels(d->presence), bus_node_number(d->bus));
	pc.pool = POOL_AUTHORIZE;
	pc.connections = d->conf->sync.authorize_connections;
	d->authorize_pool = pg_pool_new(&pc);
	d->once = idempotency_new(d->authorize_pool);
	d->quotas = quotas_new(&d->conf->sync);
	d->webhooks = webhooks_new(d->conf, d->pool, bus_is_cluster(d->bus));
	d->app_auth = app_auth_new(d->conf);
	if (!d->webhooks || !d->app_auth)
		return give_up(EX_OSERR, xstrdup("webhooks: libcurl could not be started"));
	return EX_OK;
}

void free_services(struct scopewired *d)
{
	webhooks_free(d->webhooks);
	app_auth_free(d->app_auth);
	socket_ties_free(d->ties);
	presence_db_free(d->presence);
	idempotency_free(d->once);
	quotas_free(d->quotas);
	sockets_free(d->sockets);
	pg_pool_free(d->pool);
	pg_pool_free(d->authorize_pool);
	jobs_free(d->jobs);
	authorizer_free(d->authorizer);
	grants_free(d->grants);
}

int start_pool(struct scopewired *d)
{
	if (pg_pool_start(d->pool) || pg_pool_start(d->authorize_pool))
		return give_up(EX_OSERR, xstrdup("the database pool could not be started"));
	return EX_OK;
}

void stop_pool(struct scopewired *d)
{
	grants_stop(d->grants);
	pg_pool_stop(d->pool);
	pg_pool_stop(d->authorize_pool);
}

int start_webhooks(struct scopewired *d)
{
	if (webhooks_start(d->webhooks, d->directory))
		return give_up(EX_OSERR, xstrdup("the webhooks' thread could not be started"));
	if (app_auth_start(d->app_auth))
		return give_up(EX_OSERR, xstrdup("the thread for auth_url could not be started"));
	return EX_OK;
}

void stop_webhooks(struct scopewired *d)
{
	app_auth_stop(d->app_auth);
	webhooks_stop(d->webhooks, STOP_GRACE_MS);
}

void stop_presence(struct scopewired *d)
{
	presence_db_stop(d->presence);
}

int start_authorizer(struct scopewired *d)
{
	struct authorizer_conf ac = { .predicates = services_sync_pool_conf(d),
				      .predicate_cache_ms = d->conf->sync.rule_cache_ms,
				      .on_change = grants_on_change,
				      .change_ctx = d->grants };

	ac.predicates.connections = d->conf->sync.rule_connections;
	ac.predicates.options.statement_timeout_ms = d->conf->sync.rule_timeout_ms;
	ac.predicates.lock_wait_ms = 0; /* the predicates' timeout is short */
	if (authorizer_start(d->authorize_pool, &ac, &d->authorizer))
		return give_up(EX_OSERR, xstrdup("channel rules could not be started"));
	grants_start(d->grants, d->authorizer, d->directory);
	return EX_OK;
}

void stop_authorizer(struct scopewired *d)
{
	authorizer_stop(d->authorizer);
}

int start_housekeeper(struct scopewired *d)
{
	if (housekeeper_start(d->conf, d->conninfo, &d->housekeeper))
		return give_up(EX_OSERR, xstrdup("the housekeeper could not be started"));
	return EX_OK;
}

void stop_housekeeper(struct scopewired *d)
{
	housekeeper_stop(d->housekeeper);
}

static void on_apps_changed(void *ctx)
{
	struct scopewired *d = ctx;

	workers_reload(d->workers);
}

int start_apps_watch(struct scopewired *d)
{
	usec_t until;

	if (apps_watch_start(d->conf, d->conninfo, on_apps_changed, d, &d->apps_watch))
		return give_up(EX_OSERR, xstrdup("the apps watch could not be started"));
	/* Clients of its applications are refused until the table was read. */
	until = clock_mono() + APPS_WAIT_US;
	while (!apps_watch_is_settled(d->apps_watch) && clock_mono() < until &&
	       !is_stop_requested(d, APPS_POLL_MS))
		;
	return EX_OK;
}

void stop_apps_watch(struct scopewired *d)
{
	apps_watch_stop(d->apps_watch);
}
