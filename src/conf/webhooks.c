/* SPDX-License-Identifier: MIT */
/*
 * The option webhooks of an application.  Members that have no effect here, such as soketi's
 * lambda_function, are collected for a warning and do not make the configuration invalid: the table
 * apps may have rows that were written for soketi.
 */
#include <errno.h>
#include "base/macros.h"
#include "base/mem.h"
#include "conf/webhooks.h"
#include "wire/json.h"

static const char *const event_names[WEBHOOK_EVENTS] = {
	[WEBHOOK_CHANNEL_OCCUPIED] = "channel_occupied",
	[WEBHOOK_CHANNEL_VACATED] = "channel_vacated",
	[WEBHOOK_MEMBER_ADDED] = "member_added",
	[WEBHOOK_MEMBER_REMOVED] = "member_removed",
	[WEBHOOK_CLIENT_EVENT] = "client_event",
	[WEBHOOK_CACHE_MISS] = "cache_miss",
	[WEBHOOK_SUBSCRIPTION_COUNT] = "subscription_count",
	[WEBHOOK_NOTIFICATION_UNDELIVERED] = "notification_undelivered",
};

const char *webhook_event_name(enum webhook_event event)
{
	return event_names[event];
}

static void endpoint_release_headers(struct webhook_endpoint *e)
{
	for (char **p = e->headers; p && *p; p++)
		secret_free(*p);
	free(e->headers);
	e->headers = NULL;
}

static void endpoint_release(struct webhook_endpoint *e)
{
	endpoint_release_headers(e);
	free(e->name);
	secret_free(e->url);
	free(e->prefix);
	free(e->suffix);
}

void webhook_list_release(struct webhook_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		endpoint_release(&l->endpoints[i]);
	free(l->endpoints);
	free(l->ignored);
	*l = (struct webhook_list){ 0 };
}

static void webhooks_list_ignore(struct webhook_list *l, struct str_view name)
{
	char *all;

	if (l->ignored && memmem(l->ignored, strlen(l->ignored), name.ptr, name.len))
		return;
	all = textf("%s%s%.*s", l->ignored ? l->ignored : "", l->ignored ? ", " : "", SV_ARG(name));
	free(l->ignored);
	l->ignored = all;
}

/* A string without NUL and control characters; NULL when the value is something else. */
static char *webhooks_json_text(struct str_view value)
{
	char *block, *room, *text = NULL;
	struct str_view s;
	bool is_plain;

	if (json_kind(value) != '"')
		return NULL;
	block = room = xcalloc(1, value.len + 1);
	is_plain = json_decode_string(value, &room, &s);
	for (size_t i = 0; is_plain && i < s.len; i++)
		is_plain = (unsigned char)s.ptr[i] >= ' ' && s.ptr[i] != 0x7f;
	if (is_plain)
		text = sv_dup(s);
	secret_free(block);
	return text;
}

static bool endpoint_read_events(struct webhook_endpoint *e, struct str_view value)
{
	struct str_view element;
	size_t at = 0;

	if (json_kind(value) != '[')
		return false;
	while (json_next_element(value, &at, &element)) {
		char *name = webhooks_json_text(element);
		unsigned event = 0;

		while (name && event < WEBHOOK_EVENTS && strcmp(event_names[event], name) != 0)
			event++;
		if (!name || event == WEBHOOK_EVENTS) {
			free(name);
			return false;
		}
		e->events |= 1U << event;
		free(name);
	}
	return true;
}

static bool endpoint_read_filter(struct webhook_endpoint *e, struct webhook_list *l,
				 struct str_view value)
{
	struct json_member m;
	size_t at = 0;

	if (json_kind(value) == 'n')
		return true;
	if (json_kind(value) != '{')
		return false;
	while (json_next_member(value, &at, &m)) {
		char **to = sv_eq_c(m.name, "\"channel_name_starts_with\"") ? &e->prefix
			    : sv_eq_c(m.name, "\"channel_name_ends_with\"") ? &e->suffix
									    : NULL;

		if (!to) {
			webhooks_list_ignore(l, m.name);
			continue;
		}
		free(*to);
		*to = webhooks_json_text(m.value);
		if (!*to)
			return false;
	}
	return true;
}

/* A token of RFC 9110; those that the daemon sets itself cannot be set. */
static bool webhooks_is_header_name(const char *name)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789!#$%&'*+-.^_`|~";
	static const char *const own[] = { "Content-Type",	"Content-Length",
					   "X-Pusher-Key",	"X-Pusher-Signature",
					   "Transfer-Encoding", "Host" };

	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		if (strcasecmp(name, own[i]) == 0)
			return false;
	return *name && !name[strspn(name, letters)];
}

static bool endpoint_read_headers(struct webhook_endpoint *e, struct str_view value)
{
	struct json_member m;
	size_t at = 0, n = 0;

	if (json_kind(value) == 'n')
		return true;
	if (json_kind(value) != '{')
		return false;
	endpoint_release_headers(e); /* of several members the last one counts */
	while (json_next_member(value, &at, &m)) {
		char *name = webhooks_json_text(m.name), *text = webhooks_json_text(m.value);
		bool is_good = name && text && webhooks_is_header_name(name);

		if (is_good) {
			e->headers = xreallocarray(e->headers, n + 2, sizeof(*e->headers));
			e->headers[n++] = textf("%s: %s", name, text);
			e->headers[n] = NULL;
		}
		free(name);
		secret_free(text);
		if (!is_good)
			return false;
	}
	return true;
}

bool webhook_url_is_valid(const char *url)
{
	struct str_view rest = sv(url), authority;

	if (sv_starts_with(rest, SV("https://")))
		rest = sv_skip(rest, 8);
	else if (sv_starts_with(rest, SV("http://")))
		rest = sv_skip(rest, 7);
	else
		return false;
	authority = sv_n(rest.ptr, strcspn(rest.ptr, "/?#"));
	return authority.len && sv_find(authority, '@') < 0 && !strchr(url, ' ');
}

/* NULL, or what is wrong with the member. */
static const char *endpoint_read_member(struct webhook_endpoint *e, struct webhook_list *l,
					const struct json_member *m)
{
	if (sv_eq_c(m->name, "\"url\"")) {
		free(e->url);
		e->url = webhooks_json_text(m->value);
		return e->url && webhook_url_is_valid(e->url)
			       ? NULL
			       : "url must begin with http:// or https:// and have no user and "
				 "password; use headers for those";
	}
	if (sv_eq_c(m->name, "\"name\"")) {
		free(e->name);
		e->name = webhooks_json_text(m->value);
		return e->name && *e->name ? NULL : "name must be text";
	}
	if (sv_eq_c(m->name, "\"event_types\"") || sv_eq_c(m->name, "\"events\""))
		return endpoint_read_events(e, m->value)
			       ? NULL
			       : "event_types must be a list of channel_occupied, channel_vacated, "
				 "member_added, member_removed, client_event, cache_miss and "
				 "subscription_count";
	if (sv_eq_c(m->name, "\"filter\""))
		return endpoint_read_filter(e, l, m->value)
			       ? NULL
			       : "filter must be an object with the texts "
				 "channel_name_starts_with and channel_name_ends_with";
	if (sv_eq_c(m->name, "\"headers\""))
		return endpoint_read_headers(e, m->value)
			       ? NULL
			       : "headers must be an object of texts, without Host, Content-Type, "
				 "Content-Length, Transfer-Encoding, X-Pusher-Key and "
				 "X-Pusher-Signature";
	if (sv_eq_c(m->name, "\"batching\"")) {
		char kind = json_kind(m->value);

		e->batching = kind == 't' ? WEBHOOK_BATCHING_ON : WEBHOOK_BATCHING_OFF;
		return kind == 't' || kind == 'f' ? NULL : "batching must be true or false";
	}
	webhooks_list_ignore(l, m->name);
	return NULL;
}

const struct webhook_endpoint *webhook_list_find(const struct webhook_list *l, const char *name)
{
	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->endpoints[i].name, name) == 0)
			return &l->endpoints[i];
	return NULL;
}

/* A name that no other endpoint of the list has.  A query may have a secret, and is left out. */
static void endpoint_set_name(struct webhook_endpoint *e, const struct webhook_list *l)
{
	char *base = e->name ? e->name : xstrndup(e->url, strcspn(e->url, "?#"));

	e->name = xstrdup(base);
	for (unsigned i = 2; webhook_list_find(l, e->name); i++) {
		free(e->name);
		e->name = textf("%s #%u", base, i);
	}
	free(base);
}

/* NULL, or what is wrong.  An endpoint without a URL, such as a Lambda function, is left out. */
static const char *webhooks_list_add(struct webhook_list *l, struct str_view object)
{
	struct webhook_endpoint e = { 0 };
	struct json_member m;
	const char *wrong = json_kind(object) == '{' ? NULL : "must be a list of objects";
	size_t at = 0;

	while (!wrong && json_next_member(object, &at, &m))
		wrong = endpoint_read_member(&e, l, &m);
	if (wrong || !e.url) {
		endpoint_release(&e);
		return wrong;
	}
	if (!e.events)
		e.events = (1U << WEBHOOK_EVENTS) - 1;
	endpoint_set_name(&e, l);
	l->endpoints = xreallocarray(l->endpoints, l->n + 1, sizeof(*l->endpoints));
	l->endpoints[l->n++] = e;
	l->watched |= e.events;
	if (e.events & WEBHOOKS_OF_CHANNELS)
		l->watched |= WEBHOOKS_OF_CHANNELS;
	if (e.events & WEBHOOKS_OF_MEMBERS)
		l->watched |= WEBHOOKS_OF_MEMBERS;
	return NULL;
}

int webhook_list_parse(struct str_view text, struct webhook_list *out, char **complaint)
{
	struct webhook_list l = { 0 };
	struct str_view list, element;
	const char *wrong = NULL;
	size_t at = 0;

	while (text.len && (*text.ptr == ' ' || *text.ptr == '\n'))
		text = sv_skip(text, 1);
	if (text.len) {
		if (json_check(text, &list) != JSON_OK)
			wrong = "must be JSON: a list of objects, each with a url and event_types";
		else if (json_kind(list) != '[' && json_kind(list) != 'n' && !sv_eq_c(list, "{}"))
			wrong = "must be a list of objects";
		else if (json_kind(list) == '[')
			while (!wrong && json_next_element(list, &at, &element))
				wrong = webhooks_list_add(&l, element);
	}
	if (wrong) {
		*complaint = xstrdup(wrong);
		webhook_list_release(&l);
		return -EINVAL;
	}
	webhook_list_release(out);
	*out = l;
	return 0;
}

const char *webhook_list_warning(const struct webhook_list *l, bool has_deliveries)
{
	if (has_deliveries || !(l->watched & 1U << WEBHOOK_NOTIFICATION_UNDELIVERED))
		return NULL;
	return "notification_undelivered is never sent, because database.deliveries is no";
}

bool webhook_endpoint_wants(const struct webhook_endpoint *e, enum webhook_event event,
			    struct str_view channel)
{
	return (e->events & 1U << event) &&
	       (!e->prefix || sv_starts_with(channel, sv(e->prefix))) &&
	       (!e->suffix || sv_ends_with(channel, sv(e->suffix)));
}

bool webhook_list_wants(const struct webhook_list *l, unsigned events, struct str_view channel)
{
	for (size_t i = 0; i < l->n; i++)
		for (unsigned e = 0; e < WEBHOOK_EVENTS; e++)
			if ((events & 1U << e) &&
			    webhook_endpoint_wants(&l->endpoints[i], e, channel))
				return true;
	return false;
}
