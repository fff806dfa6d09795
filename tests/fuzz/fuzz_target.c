/* SPDX-License-Identifier: MIT */
/* Targets of request lines. */
#include <errno.h>
#include "base/mem.h"
#include "fuzz.h"
#include "api/request.h"

static void fuzz(struct str_view input)
{
	char *text = xmalloc(input.len ? input.len : 1);
	struct request r;
	int rc;

	if (input.len)
		memcpy(text, input.ptr, input.len);
	rc = request_set_target(&r, text, input.len);
	MUST(rc == 0 || rc == -E2BIG || rc == -EINVAL);
	MUST(r.n_params <= REQUEST_PARAMS_MAX);
	if (rc == 0)
		MUST(r.path.len <= input.len && !memchr(r.path.ptr, '\0', r.path.len));
	for (size_t i = 0; rc == 0 && i < r.n_params; i++) {
		const struct auth_param *p = &r.params[i];

		MUST(p->name.ptr >= text && p->name.len <= input.len);
		MUST(p->value.ptr >= text && p->value.ptr + p->value.len <= text + input.len);
	}
	free(text);
}
