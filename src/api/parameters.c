/* SPDX-License-Identifier: MIT */
/* Runs on the http thread. */
#include <errno.h>
#include "wire/socket_id.h"
#include "api/parameters.h"
#include "api/reply.h"

bool parameters_read_info(struct call *c, struct str_view text, unsigned *out)
{
	struct str_view word;
	unsigned info = 0;

	while (sv_split(&text, ',', &word)) {
		if (sv_eq(word, SV("user_count"))) {
			info |= INFO_USER_COUNT;
		} else if (sv_eq(word, SV("subscription_count"))) {
			info |= INFO_SUBSCRIPTION_COUNT;
		} else if (sv_eq(word, SV("cache"))) {
			info |= INFO_CACHE;
		} else if (word.len) {
			call_fail(c, 400,
				  "Unknown attribute in \"info\": use user_count, "
				  "subscription_count or cache.");
			return false;
		}
	}
	*out = info;
	return true;
}

bool parameters_read_channel(struct call *c, struct str_view name, struct channel_traits *out)
{
	unsigned max = c->app->limits.max_channel_name_bytes;
	int rc = channel_name_parse(name, max, out);

	if (!rc)
		return true;
	if (rc == -ENAMETOOLONG)
		call_fail(c, 400, "A channel name may have at most %u bytes.", max);
	else if (sv_is_utf8(name) && name.len <= 200)
		call_fail(c, 400,
			  "Invalid channel name \"%.*s\": use letters, digits and _-=@,.; only.",
			  SV_ARG(name));
	else
		call_fail(c, 400, "Invalid channel name: use letters, digits and _-=@,.; only.");
	return false;
}

bool parameters_read_socket(struct call *c, struct str_view text, uint64_t *out)
{
	*out = 0;
	if (!text.len || socket_id_parse(text, out))
		return true;
	call_fail(c, 400, "Invalid socket_id: it must look like \"123.456\".");
	return false;
}
