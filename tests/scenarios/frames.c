/* SPDX-License-Identifier: MIT */
/* What a client received: frames, and JSON that is compared with patterns. */
#include <jansson.h>
#include "play.h"

void frames_count_pings(struct peer *p)
{
	while (sv_starts_with(sv_skip(strbuf_view(&p->received), p->at), SV("\x89\x00"))) {
		p->at += 2;
		p->pings++;
	}
}

bool frames_next(struct peer *p, struct str_view *text)
{
	struct str_view b;
	const unsigned char *h;
	size_t n, head = 2;

	frames_count_pings(p);
	b = sv_skip(strbuf_view(&p->received), p->at);
	h = (const unsigned char *)b.ptr;

	if (b.len < 2)
		return false;
	if (h[0] != 0x81 || h[1] & 0x80) {
		play_fail("%s: bytes %02x %02x begin no whole text frame", p->name, h[0], h[1]);
		return false;
	}
	n = h[1];
	if (n >= 126) {
		head = n == 126 ? 4 : 10;
		n = 0;
		for (size_t i = 2; i < head; i++)
			n = n << 8 | h[i];
	}
	if (n > b.len - head) {
		play_fail("%s: half a frame", p->name);
		return false;
	}
	*text = sv_n(b.ptr + head, n);
	p->at += head + n;
	return true;
}

static bool is_same(const json_t *got, const json_t *want);

/* Texts are the same, or both are JSON objects that are. */
static bool is_same_text(const json_t *got, const json_t *want)
{
	json_t *g, *w;
	bool same;

	if (json_equal(got, want))
		return true;
	g = json_loads(json_string_value(got), 0, NULL);
	w = json_loads(json_string_value(want), 0, NULL);
	same = json_is_object(g) && json_is_object(w) && is_same(g, w);
	json_decref(g);
	json_decref(w);
	return same;
}

/* In any order: what the server lists comes out of a hash map. */
static bool is_same_list(const json_t *got, const json_t *want)
{
	json_t *left = json_copy((json_t *)(uintptr_t)want), *g, *w;
	size_t i, j;

	json_array_foreach((json_t *)(uintptr_t)got, i, g) json_array_foreach(left, j, w)
	{
		if (is_same(g, w)) {
			json_array_remove(left, j);
			break;
		}
	}
	i = json_array_size(left);
	json_decref(left);
	return i == 0 && json_array_size(got) == json_array_size(want);
}

static bool is_same_object(const json_t *got, const json_t *want)
{
	const char *key;
	json_t *value;

	if (json_object_size(got) != json_object_size(want))
		return false;
	json_object_foreach((json_t *)(uintptr_t)want, key,
			    value) if (!is_same(json_object_get(got, key), value)) return false;
	return true;
}

/* "*" stands for anything that is there. */
static bool is_same(const json_t *got, const json_t *want)
{
	if (json_is_string(want) && strcmp(json_string_value(want), "*") == 0)
		return got != NULL;
	if (!got || json_typeof(got) != json_typeof(want))
		return false;
	if (json_is_string(want))
		return is_same_text(got, want);
	if (json_is_array(want))
		return is_same_list(got, want);
	if (json_is_object(want))
		return is_same_object(got, want);
	return json_equal(got, want);
}

void frames_expect(struct peer *p, struct str_view want_text)
{
	struct strbuf text;
	struct str_view got_text;
	json_t *got, *want;

	words_expand(&text, want_text);
	want = json_loadb(text.ptr, text.len, JSON_DECODE_ANY, NULL);
	if (!want) {
		play_fail("what is expected is no JSON: %s", text.ptr);
	} else if (!frames_next(p, &got_text)) {
		play_fail("%s: got nothing, want %s", p->name, text.ptr);
	} else {
		got = json_loadb(got_text.ptr, got_text.len, JSON_ALLOW_NUL, NULL);
		if (!is_same(got, want))
			play_fail("%s: got %.*s\n  want %s", p->name, SV_ARG(got_text), text.ptr);
		json_decref(got);
	}
	json_decref(want);
	strbuf_release(&text);
}
