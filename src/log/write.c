/* SPDX-License-Identifier: MIT */
/*
 * INSERT ... SELECT FROM unnest() inserts its rows in the arrays' order, and RETURNING gives them
 * back in that order, so the i-th serial belongs to the i-th event.  An event that is alone has a
 * statement without arrays.
 *
 * drain_locked() is called only when there is something to drain: the call by itself costs more
 * than the check.  The check uses drain_locked()'s own conditions and an index, and not
 * the table's statistics, because its dead rows can be many.
 *
 * The log writer's thread only.
 */
#include "base/mem.h"
#include "log/write.h"
#include "pg/array.h"
#include "pg/json_text.h"
#include "pg/locks.h"
#include "pg/pipeline.h"
#include "wire/pusher.h"
#include "wire/socket_id.h"

enum column {
	COL_EVENT_ID,
	COL_CHANNEL,
	COL_TYPE,
	COL_PAYLOAD,
	COL_IS_TEXT,
	COL_ORIGIN,
	COL_APP,
	COL_EXCLUDE,
	COL_CREATED,
	COLUMNS
};
enum key_column { KCOL_APP, KCOL_KEY, KCOL_DIGEST, KCOL_EVENT_ID, KCOL_ANSWER, KCOLUMNS };
enum delivery_column { DCOL_SERIAL, DCOL_SOCKETS, DCOL_AT, DCOL_NODE, DCOLUMNS };

struct log_write {
	struct pg_array cols[COLUMNS];
	struct pg_array kcols[KCOLUMNS];
	struct pg_array dcols[DCOLUMNS - 1]; /* the node is one value for all */
	char *node;
	uint64_t *serials;
	unsigned n, room;     /* events, and room in serials */
	unsigned drained;     /* pending rows that got serials before them */
	struct strbuf quoted; /* scratch */
};

static const unsigned column_types[COLUMNS] = {
	[COL_EVENT_ID] = PG_TEXT, [COL_CHANNEL] = PG_TEXT, [COL_TYPE] = PG_TEXT,
	[COL_PAYLOAD] = PG_JSON,  [COL_IS_TEXT] = PG_BOOL, [COL_ORIGIN] = PG_TEXT,
	[COL_APP] = PG_TEXT,	  [COL_EXCLUDE] = PG_TEXT, [COL_CREATED] = PG_TIMESTAMPTZ,
};
static const unsigned delivery_types[DCOLUMNS - 1] = {
	[DCOL_SERIAL] = PG_INT8, [DCOL_SOCKETS] = PG_INT4, [DCOL_AT] = PG_TIMESTAMPTZ
};
static const unsigned events_params[COLUMNS] = {
	PG_TEXT_ARRAY, PG_TEXT_ARRAY, PG_TEXT_ARRAY, PG_JSON_ARRAY,	  PG_BOOL_ARRAY,
	PG_TEXT_ARRAY, PG_TEXT_ARRAY, PG_TEXT_ARRAY, PG_TIMESTAMPTZ_ARRAY
};
static const unsigned event_params[COLUMNS] = { PG_TEXT, PG_TEXT, PG_TEXT, PG_JSON,	  PG_BOOL,
						PG_TEXT, PG_TEXT, PG_TEXT, PG_TIMESTAMPTZ };
static const unsigned keys_params[KCOLUMNS] = { PG_TEXT_ARRAY, PG_TEXT_ARRAY, PG_TEXT_ARRAY,
						PG_TEXT_ARRAY, PG_TEXT_ARRAY };
static const unsigned deliveries_params[DCOLUMNS] = { PG_INT8_ARRAY, PG_INT4_ARRAY,
						      PG_TIMESTAMPTZ_ARRAY, PG_TEXT };

#define EVENT_INTO                                                                                 \
	"INSERT INTO realtime_events (serial, event_id, channel, event_type, payload, "            \
	"payload_is_text, origin, app, exclude_socket, created_at, delivered, delivered_at) "

/* In place of the step LOG_EVENTS for one event. */
static const struct pg_preparation lone_event = {
	"log_event",
	EVENT_INTO "VALUES (nextval('realtime_events_serial'), $1, $2, $3, $4, $5, $6, $7, $8, "
		   "$9, true, now()) RETURNING serial",
	COLUMNS, event_params
};

/* Statements by step; NULL types: no parameters. */
static const struct pg_preparation steps[LOG_STEPS] = {
	[LOG_BEGIN] = { "log_begin", "BEGIN", 0, NULL },
	[LOG_LOCK] = { "log_lock", PG_LOCK_SERIALS, 0, NULL },
	[LOG_DRAIN] = { "log_drain",
			"SELECT CASE WHEN EXISTS (SELECT FROM realtime_events_pending p "
			"WHERE p.serial = 0 AND p.id > (SELECT m.low FROM drain_mark m)) "
			"THEN drain_locked(500) ELSE 0 END::bigint",
			0, NULL },
	[LOG_KEYS] = { "log_keys", "SELECT idempotency_take($1, $2, $3, $4, $5)", KCOLUMNS,
		       keys_params },
	[LOG_EVENTS] = { "log_events",
			 EVENT_INTO "SELECT nextval('realtime_events_serial'), e.*, true, now() "
				    "FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9) e "
				    "RETURNING serial",
			 COLUMNS, events_params },
	[LOG_DELIVERIES] = { "log_deliveries",
			     "INSERT INTO realtime_deliveries (serial, sockets, at, node) "
			     "SELECT d.*, $4 FROM unnest($1, $2, $3) d(serial) "
			     "WHERE d.serial > (SELECT horizon FROM log_meta)",
			     DCOLUMNS, deliveries_params },
	[LOG_COMMIT] = { "log_commit", "COMMIT", 0, NULL },
};

struct log_write *log_write_new(const char *node)
{
	struct log_write *w = xcalloc(1, sizeof(*w));

	for (int i = 0; i < COLUMNS; i++)
		pg_array_init(&w->cols[i], column_types[i]);
	for (int i = 0; i < KCOLUMNS; i++)
		pg_array_init(&w->kcols[i], PG_TEXT);
	for (int i = 0; i < DCOLUMNS - 1; i++)
		pg_array_init(&w->dcols[i], delivery_types[i]);
	strbuf_init(&w->quoted, 256);
	w->node = xstrdup(node);
	return w;
}

void log_write_free(struct log_write *w)
{
	if (!w)
		return;
	for (int i = 0; i < COLUMNS; i++)
		pg_array_release(&w->cols[i]);
	for (int i = 0; i < KCOLUMNS; i++)
		pg_array_release(&w->kcols[i]);
	for (int i = 0; i < DCOLUMNS - 1; i++)
		pg_array_release(&w->dcols[i]);
	strbuf_release(&w->quoted);
	free(w->serials);
	free(w->node);
	free(w);
}

void log_write_reset(struct log_write *w)
{
	for (int i = 0; i < COLUMNS; i++)
		pg_array_reset(&w->cols[i]);
	for (int i = 0; i < KCOLUMNS; i++)
		pg_array_reset(&w->kcols[i]);
	for (int i = 0; i < DCOLUMNS - 1; i++)
		pg_array_reset(&w->dcols[i]);
	w->n = 0;
	w->drained = 0;
}

unsigned log_write_drained(const struct log_write *w)
{
	return w->drained;
}

unsigned log_write_events(const struct log_write *w)
{
	return w->n;
}

size_t log_write_bytes(const struct log_write *w)
{
	return w->cols[COL_PAYLOAD].bytes.len + w->kcols[KCOL_ANSWER].bytes.len;
}

uint64_t log_write_serial(const struct log_write *w, unsigned i)
{
	return w->serials[i];
}

/* -- gathering -- */

/* JSON is stored byte for byte; other data as a JSON string. */
static void write_add_payload(struct log_write *w, struct str_view data)
{
	bool is_json = json_text_valid(data);

	if (!is_json) {
		strbuf_reset(&w->quoted);
		strbuf_add_json(&w->quoted, data);
		data = strbuf_view(&w->quoted);
	}
	pg_array_add(&w->cols[COL_PAYLOAD], data);
	pg_array_add_bool(&w->cols[COL_IS_TEXT], !is_json);
}

static void write_add_exclude(struct log_write *w, uint64_t socket)
{
	char text[SOCKET_ID_SIZE];

	if (socket)
		pg_array_add(&w->cols[COL_EXCLUDE], sv(socket_id_format(socket, text)));
	else
		pg_array_add_null(&w->cols[COL_EXCLUDE]);
}

void log_write_event(struct log_write *w, const struct event *e)
{
	pg_array_add(&w->cols[COL_EVENT_ID], sv(e->id));
	pg_array_add(&w->cols[COL_CHANNEL], e->channel);
	pg_array_add(&w->cols[COL_TYPE], e->name);
	write_add_payload(w, msgbuf_view(e->data));
	pg_array_add(&w->cols[COL_ORIGIN], sv(e->origin));
	pg_array_add(&w->cols[COL_APP], sv(e->app->id));
	write_add_exclude(w, e->exclude_socket);
	pg_array_add_time(&w->cols[COL_CREATED], e->published_at);
	if (w->n == w->room) {
		w->room = w->room ? w->room * 2 : 256;
		w->serials = xreallocarray(w->serials, w->room, sizeof(*w->serials));
	}
	w->n++;
}

void log_write_key(struct log_write *w, const struct event_key *k)
{
	pg_array_add(&w->kcols[KCOL_APP], k->app);
	pg_array_add(&w->kcols[KCOL_KEY], k->key);
	pg_array_add(&w->kcols[KCOL_DIGEST], k->digest);
	pg_array_add(&w->kcols[KCOL_EVENT_ID], k->event_id);
	pg_array_add(&w->kcols[KCOL_ANSWER], k->answer);
}

void log_write_delivery(struct log_write *w, const struct delivery *d)
{
	pg_array_add_int8(&w->dcols[DCOL_SERIAL], (int64_t)d->serial);
	pg_array_add_int4(&w->dcols[DCOL_SOCKETS], (int32_t)d->sockets);
	pg_array_add_time(&w->dcols[DCOL_AT], d->at);
}

/* -- sending -- */

enum pg_fault log_write_prepare(struct pg_connection *c, usec_t deadline)
{
	enum pg_fault fault = pg_conn_script(c, deadline, "SET enable_seqscan = off");

	for (int i = 0; i < LOG_STEPS && fault == PG_FINE; i++)
		fault = pg_conn_prepare(c, deadline, &steps[i]);
	return fault == PG_FINE ? pg_conn_prepare(c, deadline, &lone_event) : fault;
}

static bool write_has_step(const struct log_write *w, enum log_step step)
{
	switch (step) {
	case LOG_LOCK:
		return w->n > 0 || w->kcols[KCOL_KEY].n > 0;
	case LOG_KEYS:
		return w->kcols[KCOL_KEY].n > 0;
	case LOG_DRAIN:
	case LOG_EVENTS:
		return w->n > 0;
	case LOG_DELIVERIES:
		return w->dcols[DCOL_SERIAL].n > 0;
	default:
		return true;
	}
}

/*
 * A step's parameters are arrays in binary form (of an event that is alone, their only members),
 * and after them the node as text, or none.
 */
static bool write_send_step(struct log_write *w, struct pg_connection *c, enum log_step step)
{
	struct pg_array *arrays = step == LOG_KEYS     ? w->kcols
				  : step == LOG_EVENTS ? w->cols
						       : w->dcols;
	const char *values[COLUMNS];
	int lengths[COLUMNS], formats[COLUMNS];
	bool is_lone = step == LOG_EVENTS && w->n == 1;
	struct pg_query q = { .sql = is_lone ? lone_event.name : steps[step].name,
			      .n = steps[step].n,
			      .values = values,
			      .lengths = lengths,
			      .formats = formats,
			      .is_prepared = true };

	for (int i = 0; i < q.n; i++) {
		bool is_text = step == LOG_DELIVERIES && i == DCOL_NODE;
		struct str_view v = is_text   ? sv(w->node)
				    : is_lone ? pg_array_only(&arrays[i])
					      : pg_array_view(&arrays[i]);

		values[i] = v.ptr;
		lengths[i] = (int)v.len;
		formats[i] = !is_text;
	}
	return pg_pipeline_add(c, &q);
}

static bool write_send_steps(struct log_write *w, struct pg_connection *c)
{
	if (!pg_pipeline_begin(c))
		return false;
	for (int i = 0; i < LOG_STEPS; i++)
		if (write_has_step(w, (enum log_step)i) && !write_send_step(w, c, (enum log_step)i))
			return false;
	return true;
}

/* -- answers -- */

static enum pg_fault write_take_answer(struct log_write *w, enum log_step step,
				       const struct pg_answer *a)
{
	switch (step) {
	case LOG_DRAIN:
		w->drained = (unsigned)pg_answer_int(a, 0, 0);
		return PG_FINE;
	case LOG_EVENTS:
		if (pg_answer_rows(a) != (int)w->n)
			return PG_LOST; /* a trigger or rule dropped rows: look up what is there */
		for (unsigned i = 0; i < w->n; i++)
			w->serials[i] = (uint64_t)pg_answer_int(a, (int)i, 0);
		return PG_FINE;
	case LOG_COMMIT:
		return strcmp(pg_answer_command(a), "COMMIT") == 0 ? PG_FINE : PG_UNFIT;
	default:
		return PG_FINE;
	}
}

/* *failed is the step of the first fault. */
static enum pg_fault write_read_answers(struct log_write *w, struct pg_connection *c,
					usec_t deadline, enum log_step *failed)
{
	enum pg_fault first = PG_FINE;

	for (int i = 0; i < LOG_STEPS; i++) {
		enum log_step step = (enum log_step)i;
		struct pg_answer a = { 0 };
		enum pg_fault fault;

		if (!write_has_step(w, step))
			continue;
		fault = pg_pipeline_read(c, deadline, &a);
		if (fault == PG_FINE && a.result)
			fault = write_take_answer(w, step, &a);
		pg_answer_release(&a);
		if (fault == PG_LOST)
			return PG_LOST;
		if (first == PG_FINE && fault != PG_FINE) {
			first = fault;
			*failed = step;
		}
	}
	return pg_pipeline_end(c, deadline) == PG_FINE ? first : PG_LOST;
}

enum pg_fault log_write_run(struct log_write *w, struct pg_connection *c, usec_t deadline,
			    enum log_step *failed)
{
	enum pg_fault fault;

	if (!write_send_steps(w, c) || pg_pipeline_send(c, deadline) != PG_FINE)
		return PG_LOST;
	fault = write_read_answers(w, c, deadline, failed);
	if (fault == PG_FINE || fault == PG_LOST)
		return fault;
	if (*failed == LOG_COMMIT)
		return PG_LOST; /* look it up: what an error in COMMIT means is not certain */
	if (pg_conn_is_in_transaction(c) && pg_conn_script(c, deadline, "ROLLBACK") != PG_FINE)
		return PG_LOST;
	return fault;
}
