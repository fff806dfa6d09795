/* SPDX-License-Identifier: MIT */
#ifndef ADMIN_ADMIN_H
#define ADMIN_ADMIN_H
/*
 * What the admin listener serves: metrics and, for operators, the state of the daemon.  The public
 * port serves nothing of it.
 */
#include "base/annotate.h"
#include "conf/conf.h"
#include "api/request.h"

struct admin;
struct health;

/* Both outlive it. */
struct admin *admin_new(const struct conf_admin *conf, const struct health *health) MUSTCHECK;
void admin_free(struct admin *a); /* NULL is fine */
/*
 * Handles a request; admin is a struct admin, which outlives all requests.  On the http thread of
 * the admin listener; does not wait.
 */
void admin_handle(void *admin, struct request *r);
#endif
