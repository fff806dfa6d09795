/* SPDX-License-Identifier: MIT */
/*
 * One pass over the body finds the members of the usual form.  Any other form is left to jansson,
 * which decides what is valid, so the fast path accepts only what it understands completely.  No
 * state; any thread.
 */
#include "base/annotate.h"
#include "base/mem.h"
#include "api/event_body.h"

static struct event_member *event_member_of(struct event_body *e, struct str_view key)
{
	static const struct {
		struct str_view key;
		size_t at;
	} fields[] = {
		{ { "name", 4 }, offsetof(struct event_body, name) },
		{ { "data", 4 }, offsetof(struct event_body, data) },
		{ { "channel", 7 }, offsetof(struct event_body, channel) },
		{ { "socket_id", 9 }, offsetof(struct event_body, socket_id) },
		{ { "info", 4 }, offsetof(struct event_body, info) },
		{ { "idempotency_key", 15 }, offsetof(struct event_body, idempotency_key) },
	};

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (sv_eq(key, fields[i].key))
			return (struct event_member *)((char *)e + fields[i].at);
	return NULL;
}

void event_body_init(struct event_body *e)
{
	memset(e, 0, sizeof(*e));
	e->list = e->few;
	e->room = EVENT_CHANNELS_INLINE;
}

void event_body_add_channel(struct event_body *e, struct str_view name)
{
	if (e->n_channels == e->room) {
		struct str_view *more = xreallocarray(NULL, 2 * e->room, sizeof(*more));

		memcpy(more, e->list, e->n_channels * sizeof(*more));
		if (e->list != e->few)
			free(e->list);
		e->list = more;
		e->room *= 2;
	}
	e->list[e->n_channels++] = name;
}

void event_body_release(struct event_body *e)
{
	if (e->list != e->few)
		free(e->list);
	free(e->text);
}

/* ---- from jansson's tree ------------------------------------------------ */

struct event_member event_body_member(const json_t *v)
{
	if (!v || json_is_null(v))
		return (struct event_member){ MEMBER_ABSENT, { "", 0 } };
	if (!json_is_string(v))
		return (struct event_member){ MEMBER_WRONG, { "", 0 } };
	return (struct event_member){ MEMBER_TEXT,
				      { json_string_value(v), json_string_length(v) } };
}

static void event_channels_of_json(const json_t *list, struct event_body *e)
{
	if (!list || json_is_null(list))
		return;
	e->channels = json_is_array(list) ? MEMBER_TEXT : MEMBER_WRONG;
	for (size_t i = 0; i < json_array_size(list); i++) {
		struct event_member f = event_body_member(json_array_get(list, i));

		e->has_wrong_channel |= f.state != MEMBER_TEXT;
		event_body_add_channel(e, f.text);
	}
}

void event_body_of_json(const json_t *obj, struct event_body *e)
{
	event_body_init(e);
	e->name = event_body_member(json_object_get(obj, "name"));
	e->data = event_body_member(json_object_get(obj, "data"));
	e->channel = event_body_member(json_object_get(obj, "channel"));
	e->socket_id = event_body_member(json_object_get(obj, "socket_id"));
	e->info = event_body_member(json_object_get(obj, "info"));
	e->idempotency_key = event_body_member(json_object_get(obj, "idempotency_key"));
	event_channels_of_json(json_object_get(obj, "channels"), e);
}

/* ---- in one pass --------------------------------------------------------- */

struct scan {
	const char *p, *end;
	char *to; /* where the next unescaped byte goes */
};

static void body_skip_space(struct scan *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t'))
		s->p++;
}

/* The next byte that is no space is c: steps over it. */
static bool body_take(struct scan *s, char c)
{
	body_skip_space(s);
	if (s->p == s->end || *s->p != c)
		return false;
	s->p++;
	return true;
}

/* The character that "\c" means; 0 for those that jansson parses. */
static char scan_unescaped(char c)
{
	static const char of[128] = { ['"'] = '"',  ['\\'] = '\\', ['/'] = '/',	 ['b'] = '\b',
				      ['f'] = '\f', ['n'] = '\n',  ['r'] = '\r', ['t'] = '\t' };

	return (unsigned char)c < 128 ? of[(unsigned char)c] : 0;
}

static bool scan_take_string(struct scan *s, struct str_view *out)
{
	const char *from;

	if (!body_take(s, '"'))
		return false;
	out->ptr = s->to;
	for (;;) {
		from = s->p;
		s->p = str_plain_end(from, s->end);
		memcpy(s->to, from, (size_t)(s->p - from));
		s->to += s->p - from;
		if (s->end - s->p < 1 || (unsigned char)*s->p < 0x20)
			return false;
		if (*s->p++ == '"')
			break;
		if (s->p == s->end || !scan_unescaped(*s->p))
			return false;
		*s->to++ = scan_unescaped(*s->p++);
	}
	out->len = (size_t)(s->to - out->ptr);
	return true;
}

static bool scan_take_list(struct scan *s, struct event_body *e)
{
	struct str_view name;

	if (!body_take(s, '['))
		return false;
	if (body_take(s, ']'))
		return true;
	do {
		if (!scan_take_string(s, &name))
			return false;
		event_body_add_channel(e, name);
	} while (body_take(s, ','));
	return body_take(s, ']');
}

/* A key for the second time is left to jansson, and so is one that is not known. */
static bool scan_take_member(struct scan *s, struct event_body *e)
{
	struct str_view key;
	struct event_member *f;

	if (!scan_take_string(s, &key) || !body_take(s, ':'))
		return false;
	if (sv_eq(key, SV("channels"))) {
		if (e->channels != MEMBER_ABSENT)
			return false;
		e->channels = MEMBER_TEXT;
		return scan_take_list(s, e);
	}
	f = event_member_of(e, key);
	if (!f || f->state != MEMBER_ABSENT)
		return false;
	f->state = MEMBER_TEXT;
	return scan_take_string(s, &f->text);
}

static bool body_take_object(struct scan *s, struct event_body *e)
{
	if (!body_take(s, '{'))
		return false;
	do {
		if (!scan_take_member(s, e))
			return false;
	} while (body_take(s, ','));
	if (!body_take(s, '}'))
		return false;
	body_skip_space(s);
	return s->p == s->end;
}

bool event_body_scan(struct str_view body, struct event_body *e)
{
	struct scan s = { .p = body.ptr, .end = body.ptr + body.len };

	event_body_init(e);
	/* unescaping never makes anything longer */
	e->text = s.to = xmalloc(body.len + 1);
	if (body_take_object(&s, e) && sv_is_utf8(body))
		return true;
	event_body_release(e);
	event_body_init(e);
	return false;
}
