/* SPDX-License-Identifier: MIT */
#ifndef PG_CONNECTOR_H
#define PG_CONNECTOR_H
/*
 * Opens connections for a pool on a thread of its own, because opening one blocks.
 */
#include "base/wake.h"
#include "pg/conn.h"

struct pg_connector;

struct pg_connector_conf {
	struct pg_options options; /* without a tick; its strings outlive the connector */
	const char *listen;	   /* a channel that each connection listens on, or NULL */
	struct wake *wake;	   /* signalled when a connection is ready or an attempt failed */
};

/* Copies conf. */
struct pg_connector *pg_connector_new(const struct pg_connector_conf *conf) MUSTCHECK;
/* 0 or -errno. */
int pg_connector_start(struct pg_connector *k) MUSTCHECK;
void pg_connector_stop(struct pg_connector *k);
/* Closes the connections that no pool has taken.  NULL is fine. */
void pg_connector_free(struct pg_connector *k);

/* Requests n more connections.  It retries, with a pause that grows, until it has them.  Any
 * thread. */
void pg_connector_request(struct pg_connector *k, unsigned n);
/* A connection that is ready, for the caller to close; NULL: none is.  Any thread. */
struct pg_connection *pg_connector_take(struct pg_connector *k) MUSTCHECK;
/* The last attempt failed.  Any thread. */
bool pg_connector_is_failing(const struct pg_connector *k);
#endif
