/* SPDX-License-Identifier: MIT */
#ifndef LOG_ROW_H
#define LOG_ROW_H
/*
 * A row of realtime_events, and the event or the frame that it is.  For any thread; a row's views
 * are good as long as the answer that it was read from.
 */
#include "conf/app.h"
#include "core/event.h"
#include "pg/answer.h"

/* For a statement whose answer log_row_read() reads. */
#define LOG_ROW_COLUMNS                                                                            \
	"serial, event_id, channel, event_type, payload, payload_is_text, origin, app, "           \
	"exclude_socket"

struct log_row {
	uint64_t serial;
	struct str_view id, channel, name;
	struct str_view payload; /* JSON text; "" for NULL */
	bool is_text;		 /* payload is a JSON string: what it holds was published */
	bool is_published;	 /* payload is what was published, JSON or not: it is of no table */
	bool is_sql;		 /* published from SQL, by the sync API or otherwise */
	bool is_sync;		 /* by the sync API */
	bool is_control;	 /* log/control.h */
	struct str_view app;	 /* the application's id; "" for NULL */
	struct str_view exclude; /* a socket id; "" for none */
};

void log_row_read(const struct pg_answer *a, int row, struct log_row *out);
/* What origin, the column, means for the row, whose channel is set. */
void log_row_set_origin(struct log_row *r, struct str_view origin);
/* The columns of replay_page(), replay_cached() and cluster_cached(). */
enum log_replay_column {
	LOG_REPLAY_FAULT,
	LOG_REPLAY_SERIAL,
	LOG_REPLAY_ID,
	LOG_REPLAY_TYPE,
	LOG_REPLAY_PAYLOAD,
	LOG_REPLAY_IS_TEXT,
	LOG_REPLAY_EXCLUDE,		      /* replay_page(): a socket id; "" for none */
	LOG_REPLAY_LEFT = LOG_REPLAY_EXCLUDE, /* replay_cached(), cluster_cached(): microseconds */
	LOG_REPLAY_PUBLISHED		      /* cluster_cached(): microseconds since 1970 */
};

/* The same for their answer; channel outlives out. */
void log_row_read_replayed(const struct pg_answer *a, int row, struct str_view channel,
			   struct log_row *out);
/* The row's application (counted by apps); one that names none is of the only one.  Or NULL. */
struct app *log_row_app(const struct log_row *r, const struct app_set *apps);
/* How long the data of its event is. */
size_t log_row_bytes(const struct log_row *r);
/* One reference.  Its delivery record is added to deliveries (may be NULL). */
struct event *log_row_event(const struct log_row *r, struct app *app, struct deliveries *deliveries)
	MUSTCHECK;
/* Appends the row's frame, as it was when the event was live, to out.  text is scratch. */
void log_row_add_frame(const struct log_row *r, struct strbuf *out, struct strbuf *text);
#endif
