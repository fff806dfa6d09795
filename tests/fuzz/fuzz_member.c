/* SPDX-License-Identifier: MIT */
/* channel_data of subscriptions, user_data of signins, socket ids. */
#include "fuzz.h"
#include "wire/grant.h"
#include "wire/pusher.h"
#include "wire/socket_id.h"

static void check(struct presence_member *m)
{
	MUST(*m->user_id && strlen(m->user_id) <= 128);
	MUST(sv_is_utf8(sv(m->user_id)));
	for (size_t i = 0; i < m->n_watchlist; i++)
		MUST(*m->watchlist[i] && sv_is_utf8(sv(m->watchlist[i])));
	presence_member_release(m);
}

static void fuzz(struct str_view input)
{
	struct presence_member m;
	struct grant_mark mark;
	const char *why = NULL;
	uint64_t id;

	if (presence_member_parse(input, 128, 1024, &m, &why) == 0) {
		MUST(!m.user_info || strlen(m.user_info) <= 1024);
		check(&m);
	} else {
		MUST(why);
	}
	if (grant_mark_parse(input, &mark)) {
		MUST(*mark.user_id && strlen(mark.user_id) < USER_ID_SIZE &&
		     mark.exp <= GRANT_EXP_MAX);
		MUST(mark.roles.len >= 2 && mark.roles.ptr[0] == '[');
	}
	if (user_data_parse(input, 128, &m, &why) == 0)
		check(&m);
	if (socket_id_parse(input, &id))
		MUST(sv_find(input, '.') > 0);
}
