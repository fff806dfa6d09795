/* SPDX-License-Identifier: MIT */
/* The one place that knows how a row represents an event; log/write.c is its counterpart. */
#include <jansson.h>
#include "base/mem.h"
#include "log/control.h"
#include "log/row.h"
#include "wire/pusher.h"
#include "wire/socket_id.h"

void log_row_set_origin(struct log_row *r, struct str_view origin)
{
	r->is_sync = sv_eq_c(origin, "sync");
	r->is_sql = r->is_sync || sv_eq_c(origin, "sql");
	r->is_control = sv_eq_c(origin, CONTROL_ORIGIN) && sv_eq_c(r->channel, CONTROL_CHANNEL);
}

void log_row_read(const struct pg_answer *a, int row, struct log_row *out)
{
	enum { SERIAL, ID, CHANNEL, NAME, PAYLOAD, IS_TEXT, ORIGIN, APP, EXCLUDE };

	*out = (struct log_row){
		.serial = (uint64_t)pg_answer_int(a, row, SERIAL),
		.id = pg_answer_view(a, row, ID),
		.channel = pg_answer_view(a, row, CHANNEL),
		.name = pg_answer_view(a, row, NAME),
		.payload = pg_answer_view(a, row, PAYLOAD),
		.is_text = pg_answer_bool(a, row, IS_TEXT),
		.app = pg_answer_view(a, row, APP),
		.exclude = pg_answer_view(a, row, EXCLUDE),
	};
	log_row_set_origin(out, pg_answer_view(a, row, ORIGIN));
}

void log_row_read_replayed(const struct pg_answer *a, int row, struct str_view channel,
			   struct log_row *out)
{
	*out = (struct log_row){
		.serial = (uint64_t)pg_answer_int(a, row, LOG_REPLAY_SERIAL),
		.id = pg_answer_view(a, row, LOG_REPLAY_ID),
		.channel = channel,
		.name = pg_answer_view(a, row, LOG_REPLAY_TYPE),
		.payload = pg_answer_view(a, row, LOG_REPLAY_PAYLOAD),
		.is_text = pg_answer_bool(a, row, LOG_REPLAY_IS_TEXT),
	};
}

struct app *log_row_app(const struct log_row *r, const struct app_set *apps)
{
	if (!r->app.len)
		return app_set_only(apps);
	return app_set_by_id(apps, r->app);
}

/* What was published; one reference. */
static struct msgbuf *log_row_data(const struct log_row *r)
{
	struct str_view published = r->payload.len || r->is_published ? r->payload : SV("{}");
	json_t *string = NULL;
	struct msgbuf *data;

	if (r->is_text)
		string = json_loadb(r->payload.ptr, r->payload.len,
				    JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	if (json_is_string(string))
		published = sv_n(json_string_value(string), json_string_length(string));
	data = msgbuf_from(published);
	json_decref(string);
	return data;
}

size_t log_row_bytes(const struct log_row *r)
{
	struct msgbuf *data = log_row_data(r);
	size_t n = data->len;

	msgbuf_unref(data);
	return n;
}

struct event *log_row_event(const struct log_row *r, struct app *app, struct deliveries *deliveries)
{
	struct msgbuf *data = log_row_data(r);
	struct event *e;

	e = event_new(app, r->channel, r->name, data);
	msgbuf_unref(data);
	str_copy(e->id, sizeof(e->id), r->id);
	if (!r->exclude.len || !socket_id_parse(r->exclude, &e->exclude_socket))
		e->exclude_socket = 0;
	e->origin = r->is_sync	    ? "sync"
		    : r->is_sql	    ? "sql"
		    : r->is_control ? CONTROL_ORIGIN
				    : "http";
	e->is_control = r->is_control;
	e->serial = r->serial;
	e->deliveries = r->is_control ? NULL : deliveries;
	return e;
}

void log_row_add_frame(const struct log_row *r, struct strbuf *out, struct strbuf *text)
{
	struct frame_event f = { .event = r->name,
				 .channel = r->channel,
				 .data = r->payload,
				 .has_json_data = r->is_text,
				 .id = r->id,
				 .serial = r->serial };

	strbuf_reset(text);
	frame_event(text, &f);
	ws_text_frame_add(out, strbuf_view(text));
}
