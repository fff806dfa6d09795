/* SPDX-License-Identifier: MIT */
/* Any thread that has the answer; nothing here keeps state. */
#include <endian.h>
#include <libpq-fe.h>
#include "base/mem.h"
#include "pg/answer.h"

void pg_answer_release(struct pg_answer *a)
{
	PQclear(a->result);
	a->result = NULL;
}

int pg_answer_rows(const struct pg_answer *a)
{
	return PQntuples(a->result); /* 0 for NULL */
}

int pg_answer_columns(const struct pg_answer *a)
{
	return PQnfields(a->result);
}

bool pg_answer_is_null(const struct pg_answer *a, int row, int column)
{
	return !a->result || PQgetisnull(a->result, row, column);
}

const char *pg_answer_text(const struct pg_answer *a, int row, int column)
{
	return a->result ? PQgetvalue(a->result, row, column) : "";
}

struct str_view pg_answer_view(const struct pg_answer *a, int row, int column)
{
	if (!a->result)
		return SV("");
	return sv_n(PQgetvalue(a->result, row, column),
		    (size_t)PQgetlength(a->result, row, column));
}

int64_t pg_answer_int(const struct pg_answer *a, int row, int column)
{
	struct str_view v = pg_answer_view(a, row, column);
	uint32_t four;
	uint64_t eight;

	if (!a->result || PQfformat(a->result, column) == 0)
		return strtoll(v.ptr, NULL, 10);
	if (v.len == sizeof(four)) {
		memcpy(&four, v.ptr, sizeof(four));
		return (int32_t)be32toh(four);
	}
	if (v.len != sizeof(eight))
		return 0;
	memcpy(&eight, v.ptr, sizeof(eight));
	return (int64_t)be64toh(eight);
}

bool pg_answer_bool(const struct pg_answer *a, int row, int column)
{
	char first = pg_answer_text(a, row, column)[0];

	return first == 't' || first == 1; /* text, binary */
}

char *pg_answer_dup(const struct pg_answer *a, int row, int column)
{
	if (pg_answer_is_null(a, row, column))
		return NULL;
	return xstrdup(pg_answer_text(a, row, column));
}

const char *pg_answer_command(const struct pg_answer *a)
{
	return a->result ? PQcmdStatus(a->result) : "";
}

static const char *answer_error_field(const struct pg_answer *a, int code)
{
	const char *text = a->result ? PQresultErrorField(a->result, code) : NULL;

	return text ? text : "";
}

const char *pg_answer_message(const struct pg_answer *a)
{
	return answer_error_field(a, PG_DIAG_MESSAGE_PRIMARY);
}

const char *pg_answer_error_constraint(const struct pg_answer *a)
{
	return answer_error_field(a, PG_DIAG_CONSTRAINT_NAME);
}

const char *pg_answer_error_column(const struct pg_answer *a)
{
	return answer_error_field(a, PG_DIAG_COLUMN_NAME);
}
