/* SPDX-License-Identifier: MIT */
/*
 * One mutex, a leaf, guards the list of watchers and their texts.  It is held while a message is
 * compared with the filters and copied; the text of a message is made once, when the first filter
 * matches.  The functions of watchers (give) are called without it.
 */
#include <inttypes.h>
#include <pthread.h>
#include "base/mem.h"
#include "trace/live_tail.h"
#include "wire/channel_name.h"
#include "wire/socket_id.h"

#define QUIET_US     (15 * USEC_PER_SEC)
#define COMMENT	     ":\n\n"
#define USER_CHANNEL "#server-to-user-"

static struct TSA(capability("mutex")) tail_held {
	char unused;
} tail_held UNUSED;

struct tail_watcher {
	struct live_tail *tail;
	struct tail_watcher *next;
	char *app, *user, *channel, *event; /* "" matches all */
	unsigned kinds;
	tail_give *give;
	void *ctx;
	struct strbuf text; /* not given yet */
	uint64_t n_lost;    /* since the last text */
	bool is_owed;	    /* a text was requested and is not given yet */
	bool is_ended;	    /* its owner may not watch any more */
	uint64_t owner;
	usec_t given_at; /* mono */
};

struct live_tail {
	atomic_uint wanted; /* the kinds of all filters */
	pthread_mutex_t lock;
	struct tail_watcher *watchers OWNED_BY(tail_held);
	unsigned n OWNED_BY(tail_held);
	bool is_closed OWNED_BY(tail_held);
};

static void watchers_lock(struct live_tail *t) TSA(acquire_capability(tail_held)) NO_TSA
{
	pthread_mutex_lock(&t->lock);
}

static void watchers_unlock(struct live_tail *t) TSA(release_capability(tail_held)) NO_TSA
{
	pthread_mutex_unlock(&t->lock);
}

struct live_tail *live_tail_new(void)
{
	struct live_tail *t = xcalloc(1, sizeof(*t));

	pthread_mutex_init(&t->lock, NULL);
	return t;
}

void live_tail_free(struct live_tail *t)
{
	if (!t)
		return;
	pthread_mutex_destroy(&t->lock);
	free(t);
}

bool live_tail_wants(const struct live_tail *t, enum tail_kind kind)
{
	return t && atomic_load_explicit(&t->wanted, memory_order_relaxed) & kind;
}

/* ---- the text of a message ---- */

static void tail_add_text(struct strbuf *b, const char *name, struct str_view text)
{
	strbuf_addf(b, ",\"%s\":", name);
	if (text.len && sv_is_utf8(text))
		strbuf_add_json(b, text);
	else
		strbuf_add_str(b, "null");
}

static void tail_add_number(struct strbuf *b, const char *name, bool is_known, uint64_t number)
{
	if (is_known)
		strbuf_addf(b, ",\"%s\":%" PRIu64, name, number);
	else
		strbuf_addf(b, ",\"%s\":null", name);
}

/* Cut at LIVE_TAIL_DATA, not inside a character of UTF-8. */
static struct str_view tail_cut(struct str_view data)
{
	if (data.len <= LIVE_TAIL_DATA)
		return data;
	data.len = LIVE_TAIL_DATA;
	while (data.len && ((unsigned char)data.ptr[data.len] & 0xc0) == 0x80)
		data.len--;
	return data;
}

static void tail_add_message(struct strbuf *b, const struct tail_message *m)
{
	const char *kind = m->kind == TAIL_EVENT     ? "event"
			   : m->kind == TAIL_REFUSAL ? "refusal"
						     : "connection";
	char at[CLOCK_ISO_SIZE], id[SOCKET_ID_SIZE];
	struct str_view data = tail_cut(m->data);

	strbuf_addf(b, "event: %s\ndata: {\"at\":\"%s\"", kind, clock_iso(clock_wall(), at));
	tail_add_text(b, "app", m->app);
	tail_add_text(b, "channel", m->channel);
	tail_add_text(b, "event", m->event);
	tail_add_number(b, "serial", m->serial, m->serial);
	tail_add_text(b, "socket_id",
		      m->socket_id ? sv(socket_id_format(m->socket_id, id)) : SV(""));
	tail_add_text(b, "user_id", m->user_id);
	tail_add_number(b, "reached", m->reached >= 0, (uint64_t)m->reached);
	tail_add_text(b, "data", data);
	if (data.len < m->data.len)
		strbuf_add_str(b, ",\"cut\":true");
	tail_add_text(b, "reason", m->reason);
	tail_add_number(b, "code", m->code, m->code);
	strbuf_add_str(b, "}\n\n");
}

/* ---- filters ---- */

static bool tail_is_pattern_of(const char *pattern, struct str_view text)
{
	return !*pattern || channel_pattern_match(sv(pattern), text);
}

/* An event of the user's own channel is the user's, too. */
static bool tail_is_user(const char *user, const struct tail_message *m)
{
	if (!*user || sv_eq_c(m->user_id, user))
		return true;
	return sv_starts_with(m->channel, SV(USER_CHANNEL)) &&
	       sv_eq_c(sv_skip(m->channel, sizeof(USER_CHANNEL) - 1), user);
}

static bool tail_matches(const struct tail_watcher *w, const struct tail_message *m)
{
	return w->kinds & m->kind && (!*w->app || sv_eq_c(m->app, w->app)) &&
	       tail_is_pattern_of(w->channel, m->channel) &&
	       tail_is_pattern_of(w->event, m->event) && tail_is_user(w->user, m);
}

/* ---- texts ---- */

/* What is to be given without the lock. */
struct tail_gift {
	tail_give *give;
	void *ctx;
	struct strbuf text;
	bool is_end;
};

/* Takes the watcher's text, with the number of lost messages at its end. */
static void tail_take_locked(struct tail_watcher *w, struct tail_gift *out, bool is_end)
	NEEDS_LOCK(tail_held)
{
	if (w->n_lost)
		strbuf_addf(&w->text, "event: lost\ndata: {\"lost\":%" PRIu64 "}\n\n", w->n_lost);
	w->n_lost = 0;
	w->is_owed = false;
	w->given_at = clock_mono();
	*out = (struct tail_gift){ w->give, w->ctx, { NULL, 0, 0 }, is_end };
	strbuf_move(&out->text, &w->text);
	strbuf_init(&w->text, 0);
}

static void tail_give_all(struct tail_gift *gifts, size_t n)
{
	for (size_t i = 0; i < n; i++)
		gifts[i].give(gifts[i].ctx, &gifts[i].text, gifts[i].is_end);
}

void live_tail_add(struct live_tail *t, const struct tail_message *m)
{
	struct tail_gift gifts[LIVE_TAIL_WATCHERS];
	struct strbuf text = { NULL, 0, 0 };
	size_t n = 0;

	if (!live_tail_wants(t, m->kind))
		return;
	watchers_lock(t);
	for (struct tail_watcher *w = t->watchers; w; w = w->next) {
		if (!tail_matches(w, m))
			continue;
		if (!text.ptr) {
			strbuf_init(&text, 512);
			tail_add_message(&text, m);
		}
		if (w->text.len + text.len > LIVE_TAIL_BYTES)
			w->n_lost++;
		else
			strbuf_add_sv(&w->text, strbuf_view(&text));
		if (w->is_owed)
			tail_take_locked(w, &gifts[n++], false);
	}
	watchers_unlock(t);
	tail_give_all(gifts, n);
	if (text.ptr)
		strbuf_release(&text);
}

void live_tail_tick(struct live_tail *t, usec_t now)
{
	struct tail_gift gifts[LIVE_TAIL_WATCHERS];
	size_t n = 0;

	if (!live_tail_wants(t, TAIL_ALL))
		return;
	watchers_lock(t);
	for (struct tail_watcher *w = t->watchers; w; w = w->next)
		if (w->is_owed && now - w->given_at >= QUIET_US) {
			strbuf_add_str(&w->text, COMMENT);
			tail_take_locked(w, &gifts[n++], false);
		}
	watchers_unlock(t);
	tail_give_all(gifts, n);
}

/* The owners are copied: the function takes locks of its own. */
void live_tail_review(struct live_tail *t, bool (*may_watch)(void *ctx, uint64_t owner), void *ctx)
{
	struct tail_gift gifts[LIVE_TAIL_WATCHERS];
	uint64_t owners[LIVE_TAIL_WATCHERS];
	size_t n = 0, n_owners = 0;

	if (!live_tail_wants(t, TAIL_ALL))
		return;
	watchers_lock(t);
	for (const struct tail_watcher *w = t->watchers; w; w = w->next)
		owners[n_owners++] = w->owner;
	watchers_unlock(t);
	for (size_t i = 0; i < n_owners; i++) {
		if (may_watch(ctx, owners[i]))
			continue;
		watchers_lock(t);
		for (struct tail_watcher *w = t->watchers; w; w = w->next) {
			if (w->owner != owners[i] || w->is_ended)
				continue;
			w->is_ended = true;
			if (w->is_owed)
				tail_take_locked(w, &gifts[n++], true);
		}
		watchers_unlock(t);
	}
	tail_give_all(gifts, n);
}

void live_tail_close(struct live_tail *t)
{
	struct tail_gift gifts[LIVE_TAIL_WATCHERS];
	size_t n = 0;

	if (!t)
		return;
	watchers_lock(t);
	t->is_closed = true;
	for (struct tail_watcher *w = t->watchers; w; w = w->next)
		if (w->is_owed)
			tail_take_locked(w, &gifts[n++], true);
	watchers_unlock(t);
	tail_give_all(gifts, n);
}

/* ---- watchers ---- */

static void tail_count_wanted_locked(struct live_tail *t) NEEDS_LOCK(tail_held)
{
	unsigned wanted = 0;

	for (const struct tail_watcher *w = t->watchers; w; w = w->next)
		wanted |= w->kinds;
	atomic_store_explicit(&t->wanted, wanted, memory_order_relaxed);
}

static void tail_watcher_release(struct tail_watcher *w)
{
	strbuf_release(&w->text);
	free(w->app);
	free(w->user);
	free(w->channel);
	free(w->event);
	free(w);
}

struct tail_watcher *tail_watcher_new(struct live_tail *t, const struct tail_filter *filter,
				      tail_give *give, void *ctx)
{
	struct tail_watcher *w = xcalloc(1, sizeof(*w));
	bool has_room;

	w->tail = t;
	w->app = sv_dup(filter->app);
	w->user = sv_dup(filter->user);
	w->channel = sv_dup(filter->channel);
	w->event = sv_dup(filter->event);
	w->kinds = filter->kinds;
	w->owner = filter->owner;
	w->give = give;
	w->ctx = ctx;
	/* The first text comes at once, so that the client knows that it watches. */
	strbuf_init(&w->text, 0);
	strbuf_add_str(&w->text, COMMENT);
	watchers_lock(t);
	has_room = t->n < LIVE_TAIL_WATCHERS && !t->is_closed;
	if (has_room) {
		t->n++;
		w->next = t->watchers;
		t->watchers = w;
		tail_count_wanted_locked(t);
	}
	watchers_unlock(t);
	if (has_room)
		return w;
	tail_watcher_release(w);
	return NULL;
}

void tail_watcher_next(struct tail_watcher *w)
{
	struct tail_gift gift;
	bool is_there, is_end;

	watchers_lock(w->tail);
	is_end = w->is_ended || w->tail->is_closed;
	is_there = w->text.len || w->n_lost || is_end;
	if (is_there)
		tail_take_locked(w, &gift, is_end);
	else
		w->is_owed = true;
	watchers_unlock(w->tail);
	if (is_there)
		tail_give_all(&gift, 1);
}

void tail_watcher_free(struct tail_watcher *w)
{
	struct live_tail *t = w->tail;
	struct tail_watcher **at;

	watchers_lock(t);
	for (at = &t->watchers; *at && *at != w;)
		at = &(*at)->next;
	if (*at) {
		*at = w->next;
		t->n--;
		tail_count_wanted_locked(t);
	}
	watchers_unlock(t);
	tail_watcher_release(w);
}
