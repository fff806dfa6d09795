/* SPDX-License-Identifier: MIT */
#ifndef ADMIN_ADMIN_PRIVATE_H
#define ADMIN_ADMIN_PRIVATE_H
/* What the files of the admin listener share. */
#include <stdatomic.h>
#include "pg/chore.h"
#include "admin/admin.h"
#include "admin/history.h"
#include "admin/token.h"

#define ADMIN_API "/admin/api/"

/* Tokens whose names share a slot share its rate. */
#define ADMIN_REFUSAL_SLOTS 64

struct admin {
	struct admin_services services;
	struct admin_tokens *tokens;
	atomic_bool local_read; /* the option, which a reload changes */
	struct pg_pool_chore read_tokens;
	struct history *history;
	uint64_t refusals[ADMIN_REFUSAL_SLOTS]; /* limit_take() of rows about refused requests */
};
#endif
