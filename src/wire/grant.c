/* SPDX-License-Identifier: MIT */
/*
 * Writes and reads the mark "scopewire" of channel_data.  The caller has verified the signature
 * before it reads the mark.  No state; any thread.
 */
#include "wire/grant.h"
#include "wire/json.h"

void grant_mark_add(struct strbuf *b, const struct grant_mark *m)
{
	strbuf_add_str(b, "\"scopewire\":{\"roles\":");
	strbuf_add_sv(b, m->roles);
	strbuf_add_str(b, ",\"as_of\":");
	strbuf_add_u64(b, m->as_of);
	strbuf_add_str(b, ",\"at\":");
	strbuf_add_u64(b, m->at);
	strbuf_add_str(b, ",\"exp\":");
	strbuf_add_u64(b, m->exp);
	strbuf_add_str(b, m->is_of_app ? ",\"by\":\"app\"}" : "}");
}

/* An id in quotes; none has a character that is escaped in JSON. */
static bool grant_read_id(struct str_view value, char out[USER_ID_SIZE])
{
	return json_kind(value) == '"' && user_id_read(sv_n(value.ptr + 1, value.len - 2), out);
}

bool grant_mark_parse(struct str_view channel_data, struct grant_mark *out)
{
	struct str_view data, mark;

	if (json_check(channel_data, &data) || json_kind(data) != '{')
		return false;
	mark = json_member(data, SV("scopewire"));
	if (json_kind(mark) != '{')
		return false;
	out->roles = json_member(mark, SV("roles"));
	out->is_of_app = sv_eq_c(json_member(mark, SV("by")), "\"app\"");
	return json_kind(out->roles) == '[' &&
	       grant_read_id(json_member(data, SV("user_id")), out->user_id) &&
	       sv_to_u64(json_member(mark, SV("as_of")), UINT64_MAX, &out->as_of) &&
	       sv_to_u64(json_member(mark, SV("at")), GRANT_EXP_MAX, &out->at) &&
	       sv_to_u64(json_member(mark, SV("exp")), GRANT_EXP_MAX, &out->exp);
}
