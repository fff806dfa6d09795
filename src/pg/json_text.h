/* SPDX-License-Identifier: MIT */
#ifndef PG_JSON_TEXT_H
#define PG_JSON_TEXT_H
/*
 * Would PostgreSQL take this text as a json value?  Only looks, builds nothing: one pass.
 */
#include "base/str.h"

/* Deeper nesting is not called JSON here: the server parses by recursion and has a stack limit. */
#define JSON_TEXT_MAX_DEPTH 256

/* text must be UTF-8. */
bool json_text_valid(struct str_view text);
#endif
