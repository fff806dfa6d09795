/* SPDX-License-Identifier: MIT */
/*
 * An entry is the report that came through the inbox.  The directory reports a channel once until
 * directory_cached_is_stored() has returned true for it; so an entry whose event was replaced while
 * it was written is written again, after the others.  A channel whose event has expired is
 * forgotten by the directory, and reported anew: that is the same entry.
 */
#include <string.h>
#include "base/log_gate.h"
#include "base/macros.h"
#include "base/mem.h"
#include "cluster/cache_store.h"
#include "core/channels/members.h"

#define QUERY_US    (10 * USEC_PER_SEC)
#define ROWS_MAX    100
#define BYTES_MAX   ((size_t)256 * 1024) /* after which no further event is taken */
#define EXPIRE_ROWS 1000
#define EXPIRE_TEXT "1000"
/* An index entry of PostgreSQL has at most 2,704 bytes. */
#define KEY_MAX 2000

/* One event of a call. */
struct cache_row {
	struct inbox_item *item;
	struct app *app;     /* counted */
	struct event *event; /* counted */
};

static struct log_gate refused_gate = LOG_GATE("cached events refused");

void cache_store_init(struct cache_store *s)
{
	*s = (struct cache_store){ .end = &s->first };
	map_init(&s->queued);
	pg_array_init(&s->apps, PG_TEXT);
	pg_array_init(&s->channels, PG_TEXT);
	pg_array_init(&s->ids, PG_TEXT);
	pg_array_init(&s->types, PG_TEXT);
	pg_array_init(&s->data, PG_TEXT);
	pg_array_init(&s->published, PG_TIMESTAMPTZ);
	pg_array_init(&s->ages, PG_INT8);
	pg_array_init(&s->ttls, PG_INT4);
}

/* The text begins with both and a NUL between. */
static struct str_view cache_store_key(const struct inbox_item *item)
{
	return sv_n(item->text, item->app.len + 1 + item->channel.len);
}

/* NULL: there is none. */
static struct inbox_item *cache_store_take(struct cache_store *s)
{
	struct inbox_item *item = s->first;

	if (!item)
		return NULL;
	s->first = item->next;
	if (!s->first)
		s->end = &s->first;
	map_del(&s->queued, cache_store_key(item));
	return item;
}

void cache_store_release(struct cache_store *s)
{
	struct inbox_item *item;

	while ((item = cache_store_take(s)))
		free(item);
	map_release(&s->queued);
	pg_array_release(&s->apps);
	pg_array_release(&s->channels);
	pg_array_release(&s->ids);
	pg_array_release(&s->types);
	pg_array_release(&s->data);
	pg_array_release(&s->published);
	pg_array_release(&s->ages);
	pg_array_release(&s->ttls);
}

enum pg_fault cache_store_prepare(struct pg_connection *c)
{
	static const unsigned types[] = {
		PG_INT4,       PG_TEXT_ARRAY,	     PG_TEXT_ARRAY, PG_TEXT_ARRAY, PG_TEXT_ARRAY,
		PG_TEXT_ARRAY, PG_TIMESTAMPTZ_ARRAY, PG_INT8_ARRAY, PG_INT4_ARRAY
	};
	static const struct pg_preparation put = {
		"cache", "SELECT cluster_cache_put($1, $2, $3, $4, $5, $6, $7, $8, $9)",
		ARRAY_SIZE(types), types
	};

	return pg_conn_prepare(c, clock_mono() + QUERY_US, &put);
}

void cache_store_add(struct cache_store *s, struct inbox_item *item)
{
	if (map_get(&s->queued, cache_store_key(item))) {
		free(item);
		return;
	}
	map_put(&s->queued, cache_store_key(item), item);
	item->next = NULL;
	*s->end = item;
	s->end = &item->next;
}

void cache_store_forget(struct cache_store *s, const struct cache_source *from)
{
	struct inbox_item **at = &s->first, *item;
	usec_t age;

	while ((item = *at)) {
		struct app *app = app_set_by_id(from->apps, item->app);
		struct event *e =
			app ? directory_cached(from->directory, app, item->channel, &age) : NULL;

		if (e) {
			at = &item->next;
		} else {
			*at = item->next;
			map_del(&s->queued, cache_store_key(item));
			free(item);
		}
		event_unref(e);
	}
	s->end = at;
}

static void cache_store_reset(struct cache_store *s)
{
	pg_array_reset(&s->apps);
	pg_array_reset(&s->channels);
	pg_array_reset(&s->ids);
	pg_array_reset(&s->types);
	pg_array_reset(&s->data);
	pg_array_reset(&s->published);
	pg_array_reset(&s->ages);
	pg_array_reset(&s->ttls);
}

/* PostgreSQL's text has no NUL. */
static bool cache_row_fits(const struct cache_row *r)
{
	struct str_view data = msgbuf_view(r->event->data);

	return r->item->app.len + r->item->channel.len <= KEY_MAX &&
	       (!data.len || !memchr(data.ptr, '\0', data.len));
}

/* Whether nothing is left to write of the channel. */
static bool cache_row_is_stored(const struct cache_row *r, const struct cache_source *from)
{
	return directory_cached_is_stored(from->directory, r->app, r->item->channel, r->event);
}

/* The channel's event, into the columns.  False: there is nothing to write; the item is freed. */
static bool cache_store_add_row(struct cache_store *s, const struct cache_source *from,
				struct cache_row *r)
{
	usec_t age = 0;

	r->app = app_set_by_id(from->apps, r->item->app);
	r->event =
		r->app ? directory_cached(from->directory, r->app, r->item->channel, &age) : NULL;
	if (!r->event) {
		free(r->item);
		return false;
	}
	app_ref(r->app);
	if (!cache_row_fits(r))
		return true;
	pg_array_add(&s->apps, r->item->app);
	pg_array_add(&s->channels, r->item->channel);
	pg_array_add(&s->ids, sv(r->event->id));
	pg_array_add(&s->types, r->event->name);
	pg_array_add(&s->data, msgbuf_view(r->event->data));
	pg_array_add_time(&s->published, r->event->published_at);
	pg_array_add_int8(&s->ages, age);
	pg_array_add_int4(&s->ttls, (int32_t)r->app->cache_ttl_s);
	return true;
}

static enum pg_fault cache_store_write(struct cache_store *s, struct pg_connection *c,
				       unsigned node)
{
	const struct str_view columns[] = { pg_array_view(&s->apps), pg_array_view(&s->channels),
					    pg_array_view(&s->ids),  pg_array_view(&s->types),
					    pg_array_view(&s->data), pg_array_view(&s->published),
					    pg_array_view(&s->ages), pg_array_view(&s->ttls) };
	char number[STR_U64_SIZE];
	const char *values[1 + ARRAY_SIZE(columns)] = { number };
	int lengths[1 + ARRAY_SIZE(columns)] = { 0 }, formats[1 + ARRAY_SIZE(columns)] = { 0 };
	const struct pg_query q = { .sql = "cache",
				    .n = ARRAY_SIZE(values),
				    .values = values,
				    .lengths = lengths,
				    .formats = formats,
				    .is_prepared = true };
	struct pg_answer a = { 0 };
	enum pg_fault fault;

	if (!s->apps.n)
		return PG_FINE;
	str_u64(number, node);
	for (size_t i = 0; i < ARRAY_SIZE(columns); i++) {
		values[i + 1] = columns[i].ptr;
		lengths[i + 1] = (int)columns[i].len;
		formats[i + 1] = 1;
	}
	fault = pg_conn_run(c, clock_mono() + QUERY_US, &q, &a);
	pg_answer_release(&a);
	return fault;
}

enum pg_fault cache_store_run(struct cache_store *s, struct pg_connection *c,
			      const struct cache_source *from)
{
	unsigned n = 0, max = s->singles ? 1 : ROWS_MAX;
	struct cache_row rows[ROWS_MAX];
	size_t bytes = 0;
	enum pg_fault fault;
	bool is_done;

	cache_store_reset(s);
	while (n < max && bytes < BYTES_MAX && (rows[n].item = cache_store_take(s)))
		if (cache_store_add_row(s, from, &rows[n]))
			bytes += rows[n++].event->data->len;
	fault = cache_store_write(s, c, from->node);
	s->singles -= s->singles > 0;
	/* One that is refused alone is not written again. */
	is_done = fault == PG_FINE || (fault == PG_REFUSED && n == 1);
	if (fault == PG_REFUSED && n > 1)
		s->singles = n;
	if (fault != PG_FINE && fault != PG_LOST && fault != PG_BUSY)
		log_gated(&refused_gate, "cluster: a cached event is not stored: %s",
			  pg_conn_error(c));
	for (unsigned i = 0; i < n; i++) {
		if (is_done && cache_row_is_stored(&rows[i], from))
			free(rows[i].item);
		else
			cache_store_add(s, rows[i].item);
		event_unref(rows[i].event);
		app_unref(rows[i].app);
	}
	return fault == PG_REFUSED ? PG_FINE : fault;
}

enum pg_fault cache_store_expire(struct pg_connection *c, bool *is_more)
{
	const struct pg_query q = { .sql = "SELECT cluster_cache_expire(" EXPIRE_TEXT ")" };
	struct pg_answer a = { 0 };
	enum pg_fault fault = pg_conn_run(c, clock_mono() + QUERY_US, &q, &a);

	*is_more = fault == PG_FINE && pg_answer_int(&a, 0, 0) == EXPIRE_ROWS;
	pg_answer_release(&a);
	return fault;
}
