/* SPDX-License-Identifier: MIT */
/*
 * An entry exists while its subject is present or was reported so.  An entry is in the list of
 * those that leave exactly while due is set: it is absent and was reported as present.
 */
#include "base/mem.h"
#include "webhook/reported.h"

struct reported_entry {
	struct reported_entry *next, *previous; /* in leaving */
	char *key;				/* app, NUL, channel, NUL, user_id */
	struct str_view view;
	struct reported_subject subject; /* inside key */
	bool is_here, is_reported;
	usec_t due; /* mono; 0: is not leaving */
	unsigned round;
};

void reported_init(struct reported *r,
		   void (*report)(void *ctx, const struct reported_subject *s, bool is_here),
		   void *ctx)
{
	*r = (struct reported){ .report = report, .ctx = ctx, .is_held = true };
	map_init(&r->entries);
}

static void entry_free(struct reported_entry *e)
{
	free(e->key);
	free(e);
}

void reported_free_all(struct reported *r)
{
	struct reported_entry *e;
	size_t at = 0;

	while ((e = map_next(&r->entries, &at)))
		entry_free(e);
	map_release(&r->entries);
	r->leaving = r->leaving_last = NULL;
}

static struct str_view entry_part(struct strbuf *b, struct str_view s)
{
	strbuf_add_sv(b, s);
	strbuf_add_c(b, '\0');
	return s;
}

static struct reported_entry *reported_find(struct reported *r, const struct reported_subject *s,
					    bool make)
{
	struct reported_entry *e;
	struct strbuf b;
	size_t n;

	strbuf_init(&b, s->app.len + s->channel.len + s->user_id.len + 4);
	entry_part(&b, s->app);
	entry_part(&b, s->channel);
	entry_part(&b, s->user_id);
	n = b.len;
	e = map_get(&r->entries, strbuf_view(&b));
	if (!e && make) {
		e = xcalloc(1, sizeof(*e));
		e->key = strbuf_detach(&b);
		e->view = sv_n(e->key, n);
		e->subject.app = sv_n(e->key, s->app.len);
		e->subject.channel = sv_n(e->key + s->app.len + 1, s->channel.len);
		e->subject.user_id = sv_n(e->key + s->app.len + s->channel.len + 2, s->user_id.len);
		map_put(&r->entries, e->view, e);
	}
	strbuf_release(&b);
	return e;
}

static void reported_unlink(struct reported *r, struct reported_entry *e)
{
	if (!e->due)
		return;
	*(e->previous ? &e->previous->next : &r->leaving) = e->next;
	*(e->next ? &e->next->previous : &r->leaving_last) = e->previous;
	e->next = e->previous = NULL;
	e->due = 0;
}

static void reported_link(struct reported *r, struct reported_entry *e, usec_t due)
{
	struct reported_entry *before = r->leaving_last;

	/* Mostly the last one: the delay is the same for all. */
	while (before && before->due > due)
		before = before->previous;
	e->due = due ? due : 1;
	e->previous = before;
	e->next = before ? before->next : r->leaving;
	*(before ? &before->next : &r->leaving) = e;
	*(e->next ? &e->next->previous : &r->leaving_last) = e;
}

static void entry_report(struct reported *r, struct reported_entry *e)
{
	if (e->is_reported || r->is_held)
		return;
	e->is_reported = true;
	r->report(r->ctx, &e->subject, true);
}

void reported_add(struct reported *r, const struct reported_subject *s)
{
	struct reported_entry *e = reported_find(r, s, true);

	e->is_here = true;
	e->round = r->round;
	reported_unlink(r, e);
	entry_report(r, e);
}

static void entry_leave(struct reported *r, struct reported_entry *e, usec_t due)
{
	e->is_here = false;
	if (e->is_reported && !e->due) {
		reported_link(r, e, due);
	} else if (!e->is_reported) {
		map_del(&r->entries, e->view);
		entry_free(e);
	}
}

void reported_remove(struct reported *r, const struct reported_subject *s, usec_t due)
{
	struct reported_entry *e = reported_find(r, s, false);

	if (e)
		entry_leave(r, e, due);
}

void reported_load(struct reported *r, const struct reported_subject *s, usec_t due)
{
	struct reported_entry *e = reported_find(r, s, true);

	e->is_reported = true;
	if (!e->is_here && !e->due)
		reported_link(r, e, due);
}

void reported_release_hold(struct reported *r)
{
	struct reported_entry *e;
	size_t at = 0;

	r->is_held = false;
	while ((e = map_next(&r->entries, &at)))
		if (e->is_here)
			entry_report(r, e);
}

usec_t reported_tick(struct reported *r, usec_t now)
{
	struct reported_entry *e;

	while ((e = r->leaving) && e->due <= now) {
		reported_unlink(r, e);
		map_del(&r->entries, e->view);
		r->report(r->ctx, &e->subject, false);
		entry_free(e);
	}
	return r->leaving ? r->leaving->due : 0;
}

void reported_compare_begin(struct reported *r)
{
	r->round++;
}

void reported_see(struct reported *r, const struct reported_subject *s)
{
	struct reported_entry *e = reported_find(r, s, false);

	if (e && e->is_here)
		e->round = r->round;
	else
		reported_add(r, s);
}

size_t reported_compare_end(struct reported *r, usec_t due)
{
	struct reported_entry *e, **absent = NULL;
	size_t at = 0, n = 0;

	while ((e = map_next(&r->entries, &at))) {
		if (!e->is_here || e->round == r->round)
			continue;
		absent = xreallocarray(absent, n + 1, sizeof(struct reported_entry *));
		absent[n++] = e;
	}
	for (size_t i = 0; i < n; i++)
		entry_leave(r, absent[i], due);
	free(absent);
	return n;
}
