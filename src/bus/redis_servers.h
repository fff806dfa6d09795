/* SPDX-License-Identifier: MIT */
#ifndef BUS_REDIS_SERVERS_H
#define BUS_REDIS_SERVERS_H
/*
 * The servers of Redis: the configured one, or the masters of its Redis Cluster, and which of them
 * has which partition.  Each has two connections, because one with subscriptions cannot publish.
 * A server that fails is connected again after a growing pause; in a cluster the others are queried
 * which server has its partitions now.
 */
#include "base/backoff.h"
#include "base/clock.h"
#include "bus/redis_link.h"
#include "bus/redis_map.h"

#define REDIS_TROUBLES 4

struct redis_servers;

struct redis_server {
	struct redis_servers *all;
	struct redis_server *next;
	struct redis_place place;
	bool has_partitions;
	struct redis_link *publisher, *subscriber; /* NULL: closed */
	uint64_t query;				   /* number of the CLUSTER SLOTS that the publisher
						    * has no answer for; 0: none */
	usec_t up_at, retry_at;			   /* mono */
	struct backoff backoff;
	/* Reasons that are in the log since it was last whole, the newest first. */
	char *troubles[REDIS_TROUBLES];
	bool is_unsteady; /* was up, but not for long: its next connection is logged when it has
			   * lasted */
};

struct redis_servers {
	uv_loop_t *loop;
	const struct conf_cluster *conf;
	SSL_CTX *tls;
	const struct redis_tags *tags;
	/* The partition has a server that is up, on which its channels are not subscribed to yet.
	 */
	void (*on_partition)(void *ctx, unsigned partition);
	/* What a subscription brings. */
	void (*on_news)(void *ctx, struct redis_server *s, const redisReply *news);
	void *ctx;

	struct redis_server *list; /* the configured one first */
	struct redis_server *of[REDIS_PARTITIONS];
	bool is_cluster;
	bool wants_map;	 /* the map may be another one by now */
	usec_t query_at; /* mono */
	struct backoff query_backoff;
	struct redis_server *queried_last;
};

/* The first seven members are set. */
void redis_servers_start(struct redis_servers *all);
/* Closes all connections; the loop frees them. */
void redis_servers_stop(struct redis_servers *all);
/* Connects and queries what is due. */
void redis_servers_tick(struct redis_servers *all, usec_t now);
void redis_servers_flush(struct redis_servers *all);
/* Every partition has a server with both connections. */
bool redis_servers_are_up(const struct redis_servers *all);
/* A server has replied that it does not have the partition any more. */
void redis_servers_lost(struct redis_servers *all, unsigned partition);
/* It is of no use; why is a part of a sentence. */
void redis_server_fail(struct redis_server *s, const char *why);
/* Both connections have logged in.  NULL: no. */
bool redis_server_is_up(const struct redis_server *s);
#endif
