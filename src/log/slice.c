/* SPDX-License-Identifier: MIT */
/* No state but that of the structs. */
#include "base/mem.h"
#include "bus/field.h"
#include "bus/message.h"
#include "log/control.h"
#include "log/slice.h"
#include "wire/socket_id.h"

#define SLICE_VERSION "1"
/* What a message has beside the slice, with much to spare. */
#define SLICE_MAX_BYTES (BUS_MESSAGE_MAX_BYTES - 4096)
#define ROW_MAX_BYTES	256 /* of a row, without its texts; and of the slice's head */

/* -- making -- */

void log_slicer_init(struct log_slicer *s, void (*emit)(void *ctx, struct str_view slice),
		     void *ctx)
{
	*s = (struct log_slicer){ .emit = emit, .ctx = ctx };
	strbuf_init(&s->text, 4096);
}

void log_slicer_release(struct log_slicer *s)
{
	strbuf_release(&s->text);
}

void log_slicer_connected(struct log_slicer *s, struct str_view timeline)
{
	strbuf_reset(&s->text);
	str_copy(s->timeline, sizeof(s->timeline), timeline);
}

void log_slicer_end(struct log_slicer *s)
{
	if (!s->text.len)
		return;
	s->emit(s->ctx, strbuf_view(&s->text));
	strbuf_reset(&s->text);
}

void log_slicer_begin(struct log_slicer *s, const char *epoch, uint64_t before)
{
	if (s->text.len && s->last == before && strcmp(s->epoch, epoch) == 0)
		return;
	log_slicer_end(s);
	str_copy(s->epoch, sizeof(s->epoch), sv(epoch));
	s->last = before;
}

void log_slicer_pass(struct log_slicer *s, uint64_t serial)
{
	log_slicer_end(s);
	s->last = serial;
}

static const char *slice_origin(const struct log_row *row)
{
	return row->is_control ? CONTROL_ORIGIN
	       : row->is_sync  ? "sync"
	       : row->is_sql   ? "sql"
			       : "http";
}

void log_slicer_add(struct log_slicer *s, const struct log_row *row)
{
	char log[LOG_EPOCH_MAX + LOG_TIMELINE_MAX + 2];
	size_t bytes = row->payload.len + row->channel.len + row->name.len + row->app.len +
		       row->id.len + row->exclude.len + ROW_MAX_BYTES;

	if (s->text.len + bytes > SLICE_MAX_BYTES)
		log_slicer_end(s);
	if (bytes > SLICE_MAX_BYTES || !bus_field_is_text(row->payload) ||
	    !bus_field_is_text(row->channel) || !bus_field_is_text(row->name)) {
		log_slicer_pass(s, row->serial);
		s->emit(s->ctx, SV(""));
		return;
	}
	if (!s->text.len) {
		bus_field_add(&s->text, SV(SLICE_VERSION));
		snprintf(log, sizeof(log), "%s/%s", s->epoch, s->timeline);
		bus_field_add(&s->text, sv(log));
		bus_field_add_number(&s->text, s->last);
	}
	bus_field_add_number(&s->text, row->serial);
	bus_field_add(&s->text, row->id);
	bus_field_add(&s->text, row->app);
	bus_field_add(&s->text, row->channel);
	bus_field_add(&s->text, row->name);
	bus_field_add(&s->text, sv(slice_origin(row)));
	bus_field_add(&s->text, row->exclude);
	bus_field_add(&s->text, row->is_published ? SV("P") : row->is_text ? SV("T") : SV("J"));
	bus_field_add(&s->text, row->payload);
	s->last = row->serial;
}

void log_slicer_add_event(struct log_slicer *s, const struct event *e)
{
	char socket[SOCKET_ID_SIZE] = "";
	struct log_row row = { .serial = atomic_load(&e->serial),
			       .id = sv(e->id),
			       .app = sv(e->app->id),
			       .channel = e->channel,
			       .name = e->name,
			       .payload = msgbuf_view(e->data),
			       .is_published = true };

	if (e->exclude_socket)
		row.exclude = sv(socket_id_format(e->exclude_socket, socket));
	log_row_set_origin(&row, sv(e->origin));
	if (row.serial)
		log_slicer_add(s, &row);
}

/* -- reading -- */

bool log_slice_next(struct str_view *rows, struct log_row *out)
{
	struct str_view origin, form;

	*out = (struct log_row){ .serial = 0 };
	if (!rows->len || !bus_field_take_number(rows, INT64_MAX, &out->serial) ||
	    !bus_field_take(rows, &out->id) || !bus_field_take(rows, &out->app) ||
	    !bus_field_take(rows, &out->channel) || !bus_field_take(rows, &out->name) ||
	    !bus_field_take(rows, &origin) || !bus_field_take(rows, &out->exclude) ||
	    !bus_field_take(rows, &form) || !bus_field_take(rows, &out->payload))
		return false;
	log_row_set_origin(out, origin);
	out->is_published = sv_eq_c(form, "P");
	out->is_text = sv_eq_c(form, "T");
	return out->id.len && out->id.len <= EVENT_ID_MAX &&
	       (out->is_published || out->is_text || sv_eq_c(form, "J"));
}

/* The rows are in order, after before; *last is the serial of the last one. */
static bool slice_check_rows(struct str_view rows, uint64_t before, uint64_t *last)
{
	struct log_row row;

	*last = before;
	if (!rows.len)
		return false;
	while (rows.len) {
		if (!log_slice_next(&rows, &row) || row.serial <= *last)
			return false;
		*last = row.serial;
	}
	return true;
}

bool log_slice_read(struct str_view text, struct log_slice *out)
{
	struct str_view version;

	*out = (struct log_slice){ .next = NULL };
	return bus_field_take(&text, &version) && sv_eq_c(version, SLICE_VERSION) &&
	       bus_field_take(&text, &out->epoch) &&
	       bus_field_take_number(&text, INT64_MAX, &out->before) &&
	       slice_check_rows(out->rows = text, out->before, &out->last);
}

struct log_slice *log_slice_copy(const struct log_slice *s)
{
	struct log_slice *copy = xmalloc(sizeof(*copy) + s->epoch.len + s->rows.len + 2);
	char *at = (char *)(copy + 1);

	*copy = *s;
	copy->epoch = sv_copy_to(&at, s->epoch);
	copy->rows = sv_copy_to(&at, s->rows);
	return copy;
}
