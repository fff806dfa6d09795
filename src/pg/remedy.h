/* SPDX-License-Identifier: MIT */
#ifndef PG_REMEDY_H
#define PG_REMEDY_H
/* What an operator can do about an error of the server. */
#include "base/annotate.h"
#include "base/str.h"
#include "pg/conn.h"

/*
 * Appends ": " and the remedy for c's last error, by its SQLSTATE, with the names of the role, the
 * database and the schema; nothing for an error without a remedy.
 */
void pg_remedy_add(struct strbuf *out, struct pg_connection *c);
#endif
