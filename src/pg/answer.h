/* SPDX-License-Identifier: MIT */
#ifndef PG_ANSWER_H
#define PG_ANSWER_H
/*
 * The result of one statement, read column by column.  Layers above pg see no libpq function.
 *
 * Rows and columns are counted from 0 and must exist.  Numbers and booleans are read from text and
 * from binary columns alike.  An answer without a result has no rows.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/str.h"

struct pg_result; /* libpq's PGresult */

struct pg_answer {
	int rc; /* 0, or why there is no result: see pg_pool_call() */
	struct pg_result *result;
	const char *sqlstate; /* of the server's error; "" or NULL: there is none */
};

/* Frees the result, for an answer that the caller owns: one that pg_conn_run() filled. */
void pg_answer_release(struct pg_answer *a);

int pg_answer_rows(const struct pg_answer *a);
int pg_answer_columns(const struct pg_answer *a);

bool pg_answer_is_null(const struct pg_answer *a, int row, int column);
/* NULL is "", 0 or false; pg_answer_is_null() distinguishes them.  Good as long as the answer. */
const char *pg_answer_text(const struct pg_answer *a, int row, int column);
struct str_view pg_answer_view(const struct pg_answer *a, int row, int column);
int64_t pg_answer_int(const struct pg_answer *a, int row, int column); /* int4, int8 */
bool pg_answer_bool(const struct pg_answer *a, int row, int column);
/* A copy on the heap; NULL for NULL. */
char *pg_answer_dup(const struct pg_answer *a, int row, int column) MUSTCHECK;

/* The command that ran, as the server names it ("COMMIT"; "ROLLBACK" when it could not). */
const char *pg_answer_command(const struct pg_answer *a);

/* Parts of the server's error; "" when there is none. */
const char *pg_answer_message(const struct pg_answer *a);
const char *pg_answer_error_constraint(const struct pg_answer *a);
const char *pg_answer_error_column(const struct pg_answer *a);
#endif
