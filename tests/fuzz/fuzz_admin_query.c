/* SPDX-License-Identifier: MIT */
/* Queries of the admin listener: they become one JSON object with those parameters and no other. */
#include <jansson.h>
#include "fuzz_api.h"
#include "admin/query.h"

#define WORDS "app channel event text from until before after limit"

static void check(const struct request *r, struct str_view text)
{
	json_t *object = json_loadb(text.ptr, text.len, JSON_ALLOW_NUL, NULL);

	MUST(json_is_object(object));
	for (size_t i = 0; i < r->n_params; i++) {
		char *name = sv_dup(r->params[i].name);

		MUST(json_is_string(json_object_get(object, name)));
		free(name);
	}
	json_decref(object);
}

static void fuzz(struct str_view input)
{
	struct request r = fuzz_api_request("GET", SV(""));
	char *query = sv_dup(input);
	struct strbuf b;

	if (request_parse_query(&r, query, input.len) == 0) {
		if (admin_query_arguments(&r, WORDS, &b)) {
			MUST(!fuzz_api.answers);
			check(&r, strbuf_view(&b));
			strbuf_release(&b);
		} else {
			MUST(fuzz_api.answers == 1);
		}
	}
	free(query);
}
