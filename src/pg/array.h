/* SPDX-License-Identifier: MIT */
#ifndef PG_ARRAY_H
#define PG_ARRAY_H
/*
 * A one-dimensional PostgreSQL array in its binary form, built by appending: a whole column of a
 * batch as one parameter.
 */
#include "base/clock.h"
#include "base/str.h"

/* Fixed in PostgreSQL's pg_type.dat. */
enum pg_oid {
	PG_BOOL = 16,
	PG_INT8 = 20,
	PG_INT4 = 23,
	PG_TEXT = 25,
	PG_JSON = 114,
	PG_TIMESTAMPTZ = 1184,
	PG_JSON_ARRAY = 199,
	PG_BOOL_ARRAY = 1000,
	PG_INT4_ARRAY = 1007,
	PG_TEXT_ARRAY = 1009,
	PG_INT8_ARRAY = 1016,
	PG_TIMESTAMPTZ_ARRAY = 1185
};

struct pg_array {
	struct strbuf bytes; /* header and members */
	uint32_t member;     /* type of the members */
	unsigned n;
	bool has_nulls;
};

void pg_array_init(struct pg_array *a, uint32_t member);
void pg_array_release(struct pg_array *a);
void pg_array_reset(struct pg_array *a); /* empty again, room kept */
void pg_array_add(struct pg_array *a, struct str_view bytes);
void pg_array_add_null(struct pg_array *a);
void pg_array_add_bool(struct pg_array *a, bool v);
void pg_array_add_int4(struct pg_array *a, int32_t v);
void pg_array_add_int8(struct pg_array *a, int64_t v);
void pg_array_add_time(struct pg_array *a, usec_t wall);
/* The finished parameter; valid until the next change. */
struct str_view pg_array_view(struct pg_array *a);
/* The only member, as a parameter of its type; NULL is a view of NULL.  Valid as the above. */
struct str_view pg_array_only(const struct pg_array *a);
#endif
