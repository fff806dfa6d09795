/* SPDX-License-Identifier: MIT */
/* JSON that goes into the log: the two readers of JSON text accept the same. */
#include "fuzz.h"
#include "pg/json_text.h"
#include "wire/json.h"

static void fuzz(struct str_view input)
{
	struct str_view value;
	enum json_fault fault;

	if (!sv_is_utf8(input))
		return; /* json_text_valid() is for UTF-8 only */
	fault = json_check_deep(input, JSON_TEXT_MAX_DEPTH - 1, &value);
	if (json_text_valid(input))
		MUST(fault == JSON_OK || fault == JSON_TOO_DEEP);
	else
		MUST(fault != JSON_OK);
}
