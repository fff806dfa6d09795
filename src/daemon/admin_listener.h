/* SPDX-License-Identifier: MIT */
#ifndef DAEMON_ADMIN_LISTENER_H
#define DAEMON_ADMIN_LISTENER_H
/*
 * The admin listener: an acceptor and an HTTP server of its own, so that it answers when the public
 * port is at its limits or is closed already.  On main.
 */
#include "base/annotate.h"
#include "conf/conf.h"

struct admin_listener;
struct health;

/*
 * Listens and serves.  0, with *out NULL if the option admin.listen is off; or -errno with *why a
 * sentence (heap).  conf and health outlive it.
 */
int admin_listener_start(const struct conf *conf, const struct health *health,
			 struct admin_listener **out, char **why) MUSTCHECK;
/* Gives requests in progress at most grace_ms; frees.  NULL is fine. */
void admin_listener_stop(struct admin_listener *l, unsigned grace_ms);
#endif
