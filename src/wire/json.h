/* SPDX-License-Identifier: MIT */
#ifndef WIRE_JSON_H
#define WIRE_JSON_H
/*
 * The bytes of one member of a JSON object, as they were written: what is passed on must not
 * be printed anew (0.1 would come out as 0.10000000000000001).
 */
#include <stdbool.h>
#include "base/str.h"

/*
 * object: text that a parser has accepted as a JSON object.  True with the last value of key in
 * *value, without spaces around it.  False when it is not there, or when any key is written
 * with an escape: then print the parsed value instead.
 */
bool json_slice_member(struct str_view object, struct str_view key, struct str_view *value);
#endif
