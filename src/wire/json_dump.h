/* SPDX-License-Identifier: MIT */
#ifndef WIRE_JSON_DUMP_H
#define WIRE_JSON_DUMP_H
/*
 * JSON as compact text, with numbers as short as they can be: jansson 2.14 writes 19.99 as
 * 19.989999999999998, and PostgreSQL would keep it so.
 */
#include <jansson.h>

/* Heap, to be freed.  value must be valid, as all that was parsed is. */
char *json_dump_text(const json_t *value);
#endif
