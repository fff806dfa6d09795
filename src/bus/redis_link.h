/* SPDX-License-Identifier: MIT */
#ifndef BUS_REDIS_LINK_H
#define BUS_REDIS_LINK_H
/*
 * One connection to a server of Redis or Valkey: opens it, with TLS if configured, logs in, sends
 * commands, reads replies, and notices that the server does not answer any more.  It is not opened
 * again: who has it closes it and opens another one.
 *
 * All functions are for the thread of the loop, and none waits.
 */
#include <hiredis.h>
#include <openssl/types.h>
#include <uv.h>
#include "base/thread.h"
#include "conf/conf.h"

/* The bus's thread with the driver redis. */
extern struct thread_role on_bus;

struct redis_link;

struct redis_link_conf {
	uv_loop_t *loop;
	const struct conf_cluster *conf; /* who logs in */
	SSL_CTX *tls;			 /* NULL: without */
	const char *host;		 /* a name, an address, or the path of a Unix socket */
	unsigned port;
	bool is_configured; /* host and port are those of conf; else of CLUSTER SLOTS */
	/* It has logged in. */
	void (*on_up)(void *ctx, struct redis_link *l);
	/* A reply, or what a subscription brings; number: how many there were with this one.  Of a
	 * link without subscriptions it is that of redis_link_command(). */
	void (*on_reply)(void *ctx, struct redis_link *l, const redisReply *reply, uint64_t number);
	/* It is of no use any more, for the reason why.  Called once, not for redis_link_close().
	 */
	void (*on_down)(void *ctx, struct redis_link *l, const char *why);
	void *ctx;
};

/* host is copied; the rest outlives the link. */
struct redis_link *redis_link_open(const struct redis_link_conf *conf) MUSTCHECK;
/* No callback is called any more.  The loop frees the link.  NULL is fine. */
void redis_link_close(struct redis_link *l);
bool redis_link_is_up(const struct redis_link *l); /* NULL: no */
/* Adds a command to what is sent at the next flush; returns its number. */
uint64_t redis_link_command(struct redis_link *l, const struct str_view *words, unsigned n);
/* Bytes of commands that were not sent yet. */
size_t redis_link_waiting(const struct redis_link *l);
/* May call on_down. */
void redis_link_flush(struct redis_link *l);
#endif
