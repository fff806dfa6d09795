/* SPDX-License-Identifier: MIT */
#ifndef ADMIN_ADMIN_PRIVATE_H
#define ADMIN_ADMIN_PRIVATE_H
/* What the files of the admin listener share. */
#include "pg/pool.h"
#include "admin/admin.h"
#include "admin/history.h"
#include "admin/token.h"

#define ADMIN_API "/admin/api/"

struct admin {
	struct admin_services services;
	struct admin_tokens *tokens;
	struct history *history;
};
#endif
