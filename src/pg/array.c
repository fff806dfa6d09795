/* SPDX-License-Identifier: MIT */
/*
 * Layout (array_recv() in PostgreSQL): dimensions, has-nulls flag, member type, length, lower
 * bound, then each member as its length and bytes; all numbers are 32 bits, big endian.
 */
#include <endian.h>
#include "pg/array.h"

#define HEADER_BYTES 20
#define EPOCH_2000   (INT64_C(946684800) * USEC_PER_SEC) /* PostgreSQL counts from there */

static void array_put32(char *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, sizeof(v));
}

void pg_array_init(struct pg_array *a, uint32_t member)
{
	*a = (struct pg_array){ .member = member };
	strbuf_init(&a->bytes, 256);
	pg_array_reset(a);
}

void pg_array_release(struct pg_array *a)
{
	strbuf_release(&a->bytes);
}

void pg_array_reset(struct pg_array *a)
{
	a->n = 0;
	a->has_nulls = false;
	strbuf_reset(&a->bytes);
	strbuf_reserve(&a->bytes, HEADER_BYTES);
	a->bytes.len = HEADER_BYTES;
}

void pg_array_add(struct pg_array *a, struct str_view bytes)
{
	char *p = strbuf_reserve(&a->bytes, 4 + bytes.len);

	array_put32(p, (uint32_t)bytes.len);
	if (bytes.len)
		memcpy(p + 4, bytes.ptr, bytes.len);
	a->bytes.len += 4 + bytes.len;
	a->n++;
}

void pg_array_add_null(struct pg_array *a)
{
	array_put32(strbuf_reserve(&a->bytes, 4), UINT32_MAX);
	a->bytes.len += 4;
	a->n++;
	a->has_nulls = true;
}

void pg_array_add_bool(struct pg_array *a, bool v)
{
	pg_array_add(a, sv_n(v ? "\1" : "\0", 1));
}

void pg_array_add_int4(struct pg_array *a, int32_t v)
{
	uint32_t wire = htobe32((uint32_t)v);

	pg_array_add(a, sv_n((const char *)&wire, sizeof(wire)));
}

void pg_array_add_int8(struct pg_array *a, int64_t v)
{
	uint64_t wire = htobe64((uint64_t)v);

	pg_array_add(a, sv_n((const char *)&wire, sizeof(wire)));
}

void pg_array_add_time(struct pg_array *a, usec_t wall)
{
	pg_array_add_int8(a, wall - EPOCH_2000);
}

struct str_view pg_array_view(struct pg_array *a)
{
	char *p = a->bytes.ptr;

	array_put32(p, a->n ? 1 : 0);
	array_put32(p + 4, a->has_nulls);
	array_put32(p + 8, a->member);
	array_put32(p + 12, a->n);
	array_put32(p + 16, 1);
	/* An empty array has no dimensions, so nothing after the type. */
	return sv_n(p, a->n ? a->bytes.len : 12);
}

struct str_view pg_array_only(const struct pg_array *a)
{
	const char *member = a->bytes.ptr + HEADER_BYTES + 4;

	if (a->has_nulls)
		return sv_n(NULL, 0);
	return sv_n(member, a->bytes.len - HEADER_BYTES - 4);
}
