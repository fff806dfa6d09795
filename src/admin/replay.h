/* SPDX-License-Identifier: MIT */
#ifndef ADMIN_REPLAY_H
#define ADMIN_REPLAY_H
/* GET /admin/api/replay: what a client gets that subscribes to a channel with a position. */
#include "admin/admin.h"

void admin_replay(struct admin *a, const struct admin_services *s, struct request *r,
		  const char *who);
#endif
