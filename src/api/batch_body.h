/* SPDX-License-Identifier: MIT */
#ifndef API_BATCH_BODY_H
#define API_BATCH_BODY_H
/*
 * The body of a call with a list of items that succeed or fail one by one.  An item that cannot be
 * stored (NUL, half of a surrogate pair, a number that is too large or that a double would change,
 * a name twice) must not make the others fail, but jansson refuses the text as a whole.
 */
#include <jansson.h>
#include "base/annotate.h"
#include "base/str.h"

/*
 * Parses a body that was refused as a whole, item by item.  Each item of the member list that
 * cannot be read is replaced by an object with those of its ids that can be read, and "unreadable":
 * {"field", "message"}.  A new reference; NULL when the fault is not in an item.
 */
json_t *batch_body_read(struct str_view body, const char *list) MUSTCHECK;
#endif
