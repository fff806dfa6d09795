/* SPDX-License-Identifier: MIT */
/*
 * A list has the newest connections first.  It is made in one pass over the recorder, which keeps
 * the newest that match; the cursor is the number of the last one, so that a page is the same
 * whatever opens and closes meanwhile.
 */
#include <inttypes.h>
#include <string.h>
#include "base/mem.h"
#include "core/channel_key.h"
#include "svc/publish.h"
#include "trace/recorder.h"
#include "wire/socket_id.h"
#include "admin/connections.h"
#include "admin/query.h"

#define LIST_DEFAULT 100
#define LIST_MAX     500

/* ---- JSON ---- */

static void connection_add_time(struct strbuf *out, const char *name, usec_t at)
{
	char text[CLOCK_ISO_SIZE];

	if (at)
		strbuf_addf(out, ",\"%s\":\"%s\"", name, clock_iso(at, text));
	else
		strbuf_addf(out, ",\"%s\":null", name);
}

/* Members without the closing brace. */
static void connection_add(struct strbuf *out, const struct recorded *c)
{
	char id[SOCKET_ID_SIZE], address[ADDRESS_TEXT_SIZE];

	strbuf_addf(out, "{\"socket_id\":\"%s\",\"app\":", socket_id_format(c->id, id));
	strbuf_add_json(out, sv(c->app));
	strbuf_add_str(out, ",\"user_id\":");
	if (c->user_id)
		strbuf_add_json(out, sv(c->user_id));
	else
		strbuf_add_str(out, "null");
	strbuf_addf(out, ",\"address\":\"%s\",\"worker\":%u", address_format(&c->address, address),
		    c->worker);
	connection_add_time(out, "connected_at", c->connected_at);
	connection_add_time(out, "closed_at", c->closed_at);
	if (c->close_code)
		strbuf_addf(out, ",\"close_code\":%u", c->close_code);
	else
		strbuf_add_str(out, ",\"close_code\":null");
	strbuf_addf(out, ",\"subscriptions\":%zu,\"outbox_bytes\":%u", c->channels.used,
		    c->outbox_bytes ? atomic_load_explicit(c->outbox_bytes, memory_order_relaxed)
				    : 0);
}

static void connection_add_text(struct strbuf *out, const char *name, struct str_view text)
{
	strbuf_addf(out, ",\"%s\":", name);
	if (text.len && sv_is_utf8(text))
		strbuf_add_json(out, text);
	else
		strbuf_add_str(out, "null");
}

static void connection_add_step(struct strbuf *out, const struct recorded_step *s)
{
	char at[CLOCK_ISO_SIZE];

	strbuf_addf(out, "{\"at\":\"%s\",\"step\":\"%s\"", clock_iso(s->at, at),
		    step_name(s->kind));
	connection_add_text(out, "channel", sv_n(s->text, s->channel_len));
	connection_add_text(out, "detail", sv_n(s->text + s->channel_len, s->detail_len));
	if (s->code)
		strbuf_addf(out, ",\"code\":%u,\"times\":%u}", s->code, s->times);
	else
		strbuf_addf(out, ",\"code\":null,\"times\":%u}", s->times);
}

static void connection_add_all(void *ctx, const struct recorded *c)
{
	struct strbuf *out = ctx;
	struct msgbuf *key;
	size_t at = 0, n = 0;

	connection_add(out, c);
	strbuf_add_str(out, ",\"channels\":[");
	while ((key = map_next(&c->channels, &at))) {
		if (n++)
			strbuf_add_c(out, ',');
		strbuf_add_json(out, channel_key_name(key));
	}
	strbuf_add_str(out, "],\"steps\":[");
	for (const struct recorded_step *s = c->first; s; s = s->next) {
		connection_add_step(out, s);
		if (s->next)
			strbuf_add_c(out, ',');
	}
	strbuf_add_str(out, "]}");
}

static void connections_reply(struct request *r, struct strbuf *body)
{
	struct reply reply = { .status = 200 };

	strbuf_move(&reply.body, body);
	request_reply_full(r, &reply);
}

/* ---- one ---- */

/* The part of the path after CONNECTIONS_PATH "/". */
static bool connection_read_id(const struct request *r, uint64_t *id)
{
	struct str_view rest = sv_skip(r->path, sizeof(CONNECTIONS_PATH)), part;

	return sv_split(&rest, '/', &part) && socket_id_parse(part, id);
}

/* False: the connection would be one of this node, or the number is none. */
static bool connection_refuse_elsewhere(const struct admin_services *s, struct request *r,
					uint64_t id)
{
	unsigned own = publish_node(s->publisher);
	char *text;

	if (!own || socket_id_node(id) == own || id == UINT64_MAX)
		return false;
	text = textf("Only the node with the number %u can know this connection; request it from "
		     "the admin listener of that node, which scopewirectl nodes lists if it runs.",
		     socket_id_node(id));
	admin_query_refuse(r, 404, "not_found", sv(text));
	free(text);
	return true;
}

void admin_connections_show(const struct admin_services *s, struct request *r)
{
	bool is_id;
	struct strbuf body;
	uint64_t id;

	strbuf_init(&body, 1024);
	is_id = connection_read_id(r, &id);
	if (is_id && recorder_find(s->recorder, id, connection_add_all, &body)) {
		connections_reply(r, &body);
		return;
	}
	strbuf_release(&body);
	if (is_id && connection_refuse_elsewhere(s, r, id))
		return;
	admin_query_refuse(r, 404, "not_found",
			   SV("There is no such connection on this node, or it closed long ago and "
			      "was forgotten (option admin.recorder_bytes)."));
}

static void connection_keep(void *ctx, const struct recorded *c)
{
	struct admin_connection *out = ctx;

	if (!c->closed_at)
		*out = (struct admin_connection){ c->id, c->worker, xstrdup(c->app) };
}

bool admin_connections_find(const struct admin_services *s, const struct request *r,
			    struct admin_connection *out)
{
	uint64_t id;

	out->app = NULL;
	return connection_read_id(r, &id) && recorder_find(s->recorder, id, connection_keep, out) &&
	       out->app;
}

/* ---- the list ---- */

struct connection_row {
	uint64_t number;
	char *json;
};

struct connection_list {
	struct str_view app, user, channel;
	bool is_prefix; /* of the channel's name */
	bool has_address;
	struct address address;
	enum { STATE_ANY, STATE_OPEN, STATE_CLOSED } state;
	uint64_t before; /* a number */
	size_t limit, n;
	bool has_more;
	struct connection_row *rows; /* the highest number first */
};

static bool connection_is_on(const struct connection_list *l, const struct recorded *c)
{
	struct msgbuf *key;
	size_t at = 0;

	while ((key = map_next(&c->channels, &at)))
		if (l->is_prefix ? sv_starts_with(channel_key_name(key), l->channel)
				 : sv_eq(channel_key_name(key), l->channel))
			return true;
	return false;
}

static bool connection_matches(const struct connection_list *l, const struct recorded *c)
{
	if (c->number >= l->before || (l->state == STATE_OPEN && c->closed_at) ||
	    (l->state == STATE_CLOSED && !c->closed_at))
		return false;
	if (l->app.len && !sv_eq_c(l->app, c->app))
		return false;
	if (l->user.len && (!c->user_id || !sv_eq_c(l->user, c->user_id)))
		return false;
	if (l->has_address && memcmp(&l->address, &c->address, sizeof(c->address)) != 0)
		return false;
	return !(l->channel.len || l->is_prefix) || connection_is_on(l, c);
}

/* Inserts it, unless the list is full of newer ones. */
static void connection_list_add(void *ctx, const struct recorded *c)
{
	struct connection_list *l = ctx;
	struct strbuf json;
	size_t at = l->n;

	if (!connection_matches(l, c))
		return;
	if (l->n == l->limit) {
		l->has_more = true;
		if (c->number < l->rows[l->n - 1].number)
			return;
		free(l->rows[--l->n].json);
		at = l->n;
	}
	while (at && l->rows[at - 1].number < c->number)
		at--;
	memmove(&l->rows[at + 1], &l->rows[at], (l->n - at) * sizeof(*l->rows));
	strbuf_init(&json, 256);
	connection_add(&json, c);
	strbuf_add_c(&json, '}');
	l->rows[at] = (struct connection_row){ c->number, strbuf_detach(&json) };
	l->n++;
}

/* What is wrong with the parameters; NULL: nothing. */
static const char *connection_list_read(struct request *r, struct connection_list *l)
{
	struct str_view state = request_param(r, "state"), limit = request_param(r, "limit");
	struct str_view cursor = request_param(r, "cursor"), address = request_param(r, "address");
	uint64_t n = LIST_DEFAULT;

	l->app = request_param(r, "app");
	l->user = request_param(r, "user");
	l->channel = request_param(r, "channel");
	l->is_prefix = sv_ends_with(l->channel, SV("*"));
	if (l->is_prefix)
		l->channel.len--;
	l->has_address = address.len;
	if (l->has_address && !address_parse(address, &l->address))
		return "\"address\" must be an IP address.";
	if (state.len && !sv_eq(state, SV("open")) && !sv_eq(state, SV("closed")))
		return "\"state\" must be open or closed.";
	l->state = !state.len ? STATE_ANY : sv_eq(state, SV("open")) ? STATE_OPEN : STATE_CLOSED;
	if (limit.len && (!sv_to_u64(limit, LIST_MAX, &n) || !n))
		return "\"limit\" must be a number from 1 to 500.";
	l->limit = n;
	l->before = UINT64_MAX;
	if (cursor.len && !sv_to_u64(cursor, UINT64_MAX, &l->before))
		return "\"cursor\" must be that of the page before.";
	return NULL;
}

void admin_connections_list(const struct admin_services *s, struct request *r)
{
	struct connection_list l = { .n = 0 };
	const char *fault = connection_list_read(r, &l);
	struct strbuf body;

	if (fault) {
		admin_query_refuse(r, 400, "invalid_request", sv(fault));
		return;
	}
	l.rows = xcalloc(l.limit + 1, sizeof(*l.rows));
	recorder_each(s->recorder, connection_list_add, &l);
	strbuf_init(&body, 256 + l.n * 256);
	strbuf_add_str(&body, "{\"connections\":[");
	for (size_t i = 0; i < l.n; i++) {
		if (i)
			strbuf_add_c(&body, ',');
		strbuf_add_str(&body, l.rows[i].json);
		free(l.rows[i].json);
	}
	if (l.has_more)
		strbuf_addf(&body, "],\"cursor\":\"%" PRIu64 "\"}", l.rows[l.n - 1].number);
	else
		strbuf_add_str(&body, "],\"cursor\":null}");
	free(l.rows);
	connections_reply(r, &body);
}
