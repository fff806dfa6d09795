/* SPDX-License-Identifier: MIT */
#ifndef PG_JSON_TEXT_H
#define PG_JSON_TEXT_H
/*
 * Whether PostgreSQL accepts a text as a json value.  One pass; nothing is built.
 */
#include "base/str.h"

/* Deeper nesting is not accepted: the server parses by recursion and has a stack limit. */
#define JSON_TEXT_MAX_DEPTH 256

/* text must be UTF-8. */
bool json_text_valid(struct str_view text);
#endif
