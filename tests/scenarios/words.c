/* SPDX-License-Identifier: MIT */
/* Words of a line. */
#include "play.h"

struct str_view words_next(struct str_view *rest)
{
	struct str_view w;
	ptrdiff_t space;

	while (rest->len && *rest->ptr == ' ')
		*rest = sv_skip(*rest, 1);
	space = sv_find(*rest, ' ');
	w = sv_n(rest->ptr, space < 0 ? rest->len : (size_t)space);
	*rest = sv_skip(*rest, w.len);
	while (rest->len && *rest->ptr == ' ')
		*rest = sv_skip(*rest, 1);
	return w;
}

bool words_option(struct str_view w, struct str_view *name, struct str_view *value)
{
	ptrdiff_t at = sv_find(w, '=');

	if (at <= 0)
		return false;
	*name = sv_n(w.ptr, (size_t)at);
	*value = sv_skip(w, (size_t)at + 1);
	return true;
}

unsigned words_number(struct str_view w)
{
	uint64_t n = 0;

	if (!sv_to_u64(w, 1000000000, &n))
		play_fail("\"%.*s\" is no number", SV_ARG(w));
	return (unsigned)n;
}

struct peer *words_peer(struct str_view name)
{
	for (unsigned i = 0; i < play.n_peers; i++)
		if (sv_eq_c(name, play.peers[i].name))
			return &play.peers[i];
	return NULL;
}

/* Puts clients' socket ids in the place of ${name}. */
static void add_ids(struct strbuf *out, struct str_view in)
{
	strbuf_init(out, in.len + 64);
	for (size_t i = 0; i < in.len; i++) {
		struct str_view rest = sv_skip(in, i);
		ptrdiff_t end = sv_starts_with(rest, SV("${")) ? sv_find(rest, '}') : -1;
		struct peer *p = end > 0 ? words_peer(sv_n(rest.ptr + 2, (size_t)end - 2)) : NULL;

		if (p) {
			strbuf_add_str(out, p->id);
			i += (size_t)end;
		} else {
			strbuf_add_c(out, in.ptr[i]);
		}
	}
}

void words_expand(struct strbuf *out, struct str_view text)
{
	struct strbuf with_ids;
	struct str_view in;
	bool in_string = false;

	add_ids(&with_ids, text);
	in = strbuf_view(&with_ids);
	strbuf_init(out, in.len + 64);
	for (size_t i = 0; i < in.len; i++) {
		struct str_view rest = sv_skip(in, i + 1);
		ptrdiff_t end = sv_find(rest, '\'');

		if (!in_string && in.ptr[i] == '\'' && end >= 0) {
			strbuf_add_json(out, sv_n(rest.ptr, (size_t)end));
			i += (size_t)end + 1;
			continue;
		}
		if (in.ptr[i] == '"' && (!i || in.ptr[i - 1] != '\\'))
			in_string = !in_string;
		strbuf_add_c(out, in.ptr[i]);
	}
	strbuf_release(&with_ids);
}
