/* SPDX-License-Identifier: MIT */
/* LETTER BEFORE VERSION LENGTH USERINFO, where LENGTH is that of the user's id.  No state; any
 * thread. */
#include <string.h>
#include "cluster/change.h"
#include "wire/json.h"

static const char letters[] = { [CHANGE_NONE] = '-',
				[CHANGE_ADDED] = 'A',
				[CHANGE_REMOVED] = 'R',
				[CHANGE_REPLACED] = 'X',
				[CHANGE_COUNTED] = 'C' };

enum change_outcome change_outcome_of(struct str_view name)
{
	static const char *const names[] = {
		[CHANGE_NONE] = "same",	      [CHANGE_ADDED] = "added",
		[CHANGE_REMOVED] = "removed", [CHANGE_REPLACED] = "replaced",
		[CHANGE_COUNTED] = "counted", [CHANGE_FULL] = "full",
		[CHANGE_GONE] = "gone"
	};

	for (unsigned i = CHANGE_NONE; i <= CHANGE_GONE; i++)
		if (sv_eq_c(name, names[i]))
			return (enum change_outcome)i;
	return CHANGE_NONE;
}

void change_write(struct strbuf *out, const struct change *c)
{
	strbuf_addf(out, "%c %llu %llu %zu ", letters[c->outcome], (unsigned long long)c->before,
		    (unsigned long long)c->version, c->user_id.len);
	strbuf_add_sv(out, c->user_id);
	strbuf_add_sv(out, c->info);
}

unsigned change_total(const struct change *c)
{
	uint64_t n = 0;

	return sv_to_u64(c->info, UINT32_MAX, &n) ? (unsigned)n : 0;
}

bool change_read(struct str_view text, struct change *out)
{
	struct str_view letter, before, version, length, checked;
	const char *found;
	uint64_t n;

	if (!sv_split(&text, ' ', &letter) || letter.len != 1 || !sv_split(&text, ' ', &before) ||
	    !sv_split(&text, ' ', &version) || !sv_split(&text, ' ', &length))
		return false;
	found = memchr(letters, letter.ptr[0], sizeof(letters));
	if (!found || !sv_to_u64(before, INT64_MAX, &out->before) ||
	    !sv_to_u64(version, INT64_MAX, &out->version) || !text.ptr ||
	    !sv_to_u64(length, text.len, &n))
		return false;
	out->outcome = (enum change_outcome)(found - letters);
	out->user_id = sv_n(text.ptr, (size_t)n);
	out->info = sv_skip(text, (size_t)n);
	return sv_is_utf8(out->user_id) &&
	       (!out->info.len || json_check(out->info, &checked) == JSON_OK);
}
