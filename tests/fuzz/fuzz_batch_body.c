/* SPDX-License-Identifier: MIT */
/* Bodies with a list of items: what is read as a whole is read alike, an item that cannot be read
 * is named.
 */
#include "fuzz.h"
#include "api/batch_body.h"
#include "wire/json.h"

#define LIST "mutations"

/* Some item has the reason why it cannot be read. */
static bool has_fault(const json_t *body)
{
	const json_t *list = json_object_get(body, LIST);

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *why = json_object_get(json_array_get(list, i), "unreadable");
		const json_t *field = json_object_get(why, "field");

		if (json_is_string(json_object_get(why, "message")) &&
		    (!field || json_is_string(field)))
			return true;
	}
	return false;
}

static void fuzz(struct str_view input)
{
	json_t *whole = memchr(input.ptr, '\0', input.len) /* which jansson skips behind a number */
				? NULL
				: json_loadb(input.ptr, input.len, JSON_REJECT_DUPLICATES, NULL);
	json_t *parts = batch_body_read(input, LIST);
	struct str_view number;

	if (whole && json_find_inexact(input, &number)) {
		json_decref(whole);
		whole = NULL;
	}
	MUST(!parts || json_is_object(parts));
	if (json_is_object(whole))
		MUST(parts && json_equal(whole, parts));
	else if (parts)
		MUST(has_fault(parts));
	json_decref(whole);
	json_decref(parts);
}
