/* SPDX-License-Identifier: MIT */
#ifndef ADMIN_TAIL_H
#define ADMIN_TAIL_H
/* GET /admin/api/tail: the live tail (trace/live_tail.h) as server-sent events. */
#include "admin/admin.h"

/* token: that of the client, for live_tail_review(); 0: it has none. */
void admin_tail(const struct admin_services *s, struct request *r, uint64_t token);
#endif
