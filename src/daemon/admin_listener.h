/* SPDX-License-Identifier: MIT */
#ifndef DAEMON_ADMIN_LISTENER_H
#define DAEMON_ADMIN_LISTENER_H
/*
 * The admin listener: an acceptor and an HTTP server of its own, so that it answers when the public
 * port is at its limits or is closed already.  On main.
 */
#include <openssl/types.h>
#include "base/annotate.h"
#include "conf/conf.h"

struct admin_listener;
struct tls_port;
struct directory;
struct health;
struct live_tail;
struct publisher;
struct recorder;

struct admin_listener_conf {
	const struct conf *conf;
	const char *conninfo;
	const struct health *health;
	struct directory *directory;
	struct publisher *publisher;
	struct recorder *recorder;
	struct live_tail *live_tail;
	SSL_CTX *tls_context; /* NULL: without TLS */
};

/*
 * Listens and serves.  0, with *out NULL if the option admin.listen is off; or -errno with *why a
 * sentence (heap).  What lc points to outlives it.
 */
int admin_listener_start(const struct admin_listener_conf *lc, struct admin_listener **out,
			 char **why) MUSTCHECK;
/* Puts what a reload can change in force, but for the certificate.  NULL is fine. */
void admin_listener_reload(struct admin_listener *l, const struct conf_admin *now);
/* For tls_port_use(); NULL: without TLS, or without a listener. */
struct tls_port *admin_listener_tls(const struct admin_listener *l);
/* Gives requests in progress at most grace_ms; frees.  NULL is fine. */
void admin_listener_stop(struct admin_listener *l, unsigned grace_ms);
#endif
