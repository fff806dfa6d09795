/* SPDX-License-Identifier: MIT */
#ifndef WIRE_JSON_H
#define WIRE_JSON_H
/*
 * JSON text (RFC 8259) that is read in place.  A value is the bytes that were written, so that what
 * is passed on does not change: numbers of any size, escapes of single surrogates, NUL.  Only
 * strings that the daemon itself uses are decoded.
 *
 * All functions but json_check() take text that json_check() has accepted, or a value in it.
 */
#include <stdbool.h>
#include "base/annotate.h"
#include "base/str.h"

#define JSON_MAX_DEPTH 32
#define JSON_DEEPEST   2048

enum json_fault {
	JSON_OK,
	JSON_NOT_UTF8,
	JSON_TOO_DEEP, /* more than JSON_MAX_DEPTH levels */
	JSON_INVALID,
};
/* Whether text is one JSON value; *value is that without the spaces around it. */
enum json_fault json_check(struct str_view text, struct str_view *value) MUSTCHECK;
/* The same with another limit of levels, at most JSON_DEEPEST. */
enum json_fault json_check_deep(struct str_view text, unsigned max_depth, struct str_view *value)
	MUSTCHECK;

/* The first byte gives the type: '{', '[', '"', 't', 'f', 'n', or that of a number.  '\0': absent.
 */
char json_kind(struct str_view value);

struct json_member {
	struct str_view name; /* with quotes, as written */
	struct str_view value;
};
/* Takes the next member of an object, or false.  Set *at to 0 first. */
bool json_next_member(struct str_view object, size_t *at, struct json_member *out);
/* The last value of that name, without spaces around it; empty when there is none. */
struct str_view json_member(struct str_view object, struct str_view name);
/* Takes the next element of an array, or false.  Set *at to 0 first. */
bool json_next_element(struct str_view array, size_t *at, struct str_view *out);

/*
 * A string's text.  It points into value if there are no escapes, else to *room, of which it takes
 * what it needs: at most value.len bytes.  False: an escape is half of a surrogate pair, which
 * UTF-8 cannot hold.
 */
bool json_decode_string(struct str_view value, char **room, struct str_view *out) MUSTCHECK;

#define JSON_DOUBLE_SIZE 40 /* with the NUL */
/* The fewest digits that read as the same double; a whole number below 1e15 has no point. */
void json_format_double(char out[JSON_DOUBLE_SIZE], double value);

/*
 * Whether text has a number with a fraction or an exponent that changes when it is kept as a double
 * and written as json_format_double() does: it has more digits than that, or is too small.
 * *number is the first one.
 */
bool json_find_inexact(struct str_view text, struct str_view *number);
#endif
