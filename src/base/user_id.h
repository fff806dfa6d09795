/* SPDX-License-Identifier: MIT */
#ifndef BASE_USER_ID_H
#define BASE_USER_ID_H
/*
 * The ids of users that the sync API knows: positive integers, or texts (the option sync.user_id).
 *
 * An id is kept as its text where it is sent to the database or to a client.  What only compares
 * ids has the key of one, which has a fixed size.  The key of an integer is the integer; that of a
 * text is 128 bits of a hash that is secret to the process, so that users cannot choose ids with
 * the same key.
 *
 * The type is set once, before other threads start; everything else is for any thread.
 */
#include <stdbool.h>
#include <stdint.h>
#include "base/annotate.h"
#include "base/str.h"

#define USER_ID_MAX_BYTES 128
#define USER_ID_SIZE	  (USER_ID_MAX_BYTES + 1)

enum user_id_type { USER_ID_BIGINT, USER_ID_TEXT };

/* Its bytes can be part of a key of struct map. */
struct user_key {
	uint64_t words[2]; /* both 0: no user, or the application's server */
};

void user_id_set_type(enum user_id_type type);

/*
 * The id in a text, in the one form that it is kept in: "007" is 7 as an integer.  False: it is
 * none, and out is "".  An integer is at most INT64_MAX; a text has 1 to USER_ID_MAX_BYTES letters,
 * digits and -_=@;
 */
bool user_id_read(struct str_view text, char out[USER_ID_SIZE]) MUSTCHECK;
/* What it must be, to continue "The id must be": of the type that is set. */
const char *user_id_rule(void);
/* Appends the id as JSON: a number or a string. */
void user_id_add_json(struct strbuf *b, const char *id);

/* id: as user_id_read() gave it; "" and NULL: no user. */
struct user_key user_key_of(const char *id);
bool user_key_eq(struct user_key a, struct user_key b);
/* It is that of a user. */
bool user_key_is_set(struct user_key k);
#endif
