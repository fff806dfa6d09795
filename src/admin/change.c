/* SPDX-License-Identifier: MIT */
/*
 * A change is one call of the SQL function admin_write(), which also adds the row to admin_audit:
 * no change is made without one.  What the daemon itself does follows on the thread of the pool.
 */
#include <errno.h>
#include <signal.h>
#include <unistd.h>
#include "base/log_gate.h"
#include "base/mem.h"
#include "pg/pool.h"
#include "core/limit.h"
#include "log/control.h"
#include "svc/publish.h"
#include "wire/json.h"
#include "trace/recorder.h"
#include "wire/socket_id.h"
#include "admin/admin-private.h"
#include "admin/change.h"
#include "admin/connections.h"
#include "admin/query.h"

#define API ADMIN_API

/* The action of admin_write() that closes one connection. */
#define DISCONNECT_SOCKET "connection-disconnect"

/* Rows that a token's refused requests add in a minute. */
#define REFUSALS_PER_MINUTE 60

/* Of an id in the path of a refused request, this many bytes are recorded. */
#define RECORDED_ID_BYTES 24

static struct log_gate unrecorded = LOG_GATE("refused changes that are not in admin_audit");

static const struct pg_statement write_statement = {
	.sql = "SELECT status, body, body->>'app', body->>'user', body->>'socket_id' "
	       "FROM admin_write($1::text, $2::text, $3::text, $4::text, $5::json)",
	.takes_locks = true,
};

/* On the log writer's thread, or before publish_control() returns. */
static void admin_on_disconnected(void *ctx, int rc)
{
	struct admin_query *q = ctx;

	if (!rc)
		request_reply(q->r, 200, sv(q->text));
	else
		admin_query_refuse(q->r, 503,
				   rc == -ETIMEDOUT ? "outcome_unknown" : "database_unavailable",
				   SV("The nodes may not have been notified; send it again."));
	admin_query_free(q);
}

/* All connections of a user, on all nodes. */
static void admin_disconnect_user(struct admin_query *q, const struct pg_answer *answer)
{
	const struct control end = { .kind = CONTROL_TERMINATE,
				     .user_id = pg_answer_view(answer, 0, 3) };
	struct app_set *set = apps_current();
	struct app *app = app_set_by_id(set, pg_answer_view(answer, 0, 2));

	if (app) {
		free(q->text);
		q->text = pg_answer_dup(answer, 0, 1);
		publish_control(q->admin->services.publisher, app, &end, admin_on_disconnected, q);
	} else {
		admin_query_refuse(q->r, 404, "not_found",
				   SV("This node does not serve the application; send it to one "
				      "that does."));
		admin_query_free(q);
	}
	app_set_unref(set);
}

/* On the log writer's thread, or before publish_control() returns. */
static void admin_on_requested(void *ctx, int rc)
{
	struct admin_query *q = ctx;

	if (!rc)
		request_reply(q->r, 202, sv(q->text));
	else
		admin_query_refuse(q->r, 503,
				   rc == -ETIMEDOUT ? "outcome_unknown" : "database_unavailable",
				   SV("The node may not have been notified; send it again."));
	admin_query_free(q);
}

/* A connection of this node, or of another one: the answer has no application then, and the row
 * that requests it has any. */
static void admin_disconnect_socket(struct admin_query *q, const struct pg_answer *answer)
{
	const struct control end = { .kind = CONTROL_DISCONNECT,
				     .socket_id = pg_answer_view(answer, 0, 4) };
	struct directory *d = q->admin->services.directory;
	struct app_set *set = apps_current();
	uint64_t id;

	if (pg_answer_is_null(answer, 0, 2) && !app_set_count(set)) {
		admin_query_refuse(q->r, 404, "not_found",
				   SV("This node serves no application, so it cannot notify the "
				      "other one; send it to a node that does."));
		admin_query_free(q);
	} else if (pg_answer_is_null(answer, 0, 2)) {
		free(q->text);
		q->text = pg_answer_dup(answer, 0, 1);
		publish_control(q->admin->services.publisher, app_set_at(set, 0), &end,
				admin_on_requested, q);
	} else {
		if (socket_id_parse(end.socket_id, &id))
			directory_close_socket(d, id);
		admin_query_reply(q, answer);
	}
	app_set_unref(set);
}

/* The tokens were read again: a new one can be used at once, a deleted one cannot. */
static void admin_on_new_tokens(struct admin_query *q, const struct pg_answer *a)
{
	if (!a->rc)
		admin_tokens_load(q->admin->tokens, a);
	request_reply(q->r, 200, sv(q->text));
	admin_query_free(q);
}

/* The row of the change is committed: what the daemon itself does follows. */
static void admin_on_written(struct admin_query *q, const struct pg_answer *a)
{
	const char *action = q->text;

	if (!a->rc && pg_answer_rows(a) == 1 && pg_answer_int(a, 0, 0) == 500)
		log_error("admin: %s failed: %s", action, pg_answer_text(a, 0, 1));
	if (a->rc || pg_answer_rows(a) != 1 || pg_answer_int(a, 0, 0) != 200) {
		admin_query_reply(q, a);
		return;
	}
	log_info("admin: %s by the token %s", action, q->who);
	if (strcmp(action, "disconnect") == 0) {
		admin_disconnect_user(q, a);
		return;
	}
	if (strcmp(action, DISCONNECT_SOCKET) == 0) {
		admin_disconnect_socket(q, a);
		return;
	}
	if (strcmp(action, "user-erase") == 0)
		recorder_forget_user(q->admin->services.recorder, pg_answer_view(a, 0, 2),
				     pg_answer_view(a, 0, 3));
	else if (strcmp(action, "reload") == 0)
		kill(getpid(), SIGHUP);
	else if (strcmp(action, "drain") == 0)
		kill(getpid(), SIGTERM);
	else if (strncmp(action, "token", 5) == 0) {
		free(q->text);
		q->text = pg_answer_dup(a, 0, 1);
		q->done = admin_on_new_tokens;
		admin_query_send(q, q->admin->services.pool, &admin_tokens_statement, 0, NULL);
		return;
	}
	admin_query_reply(q, a);
}

static const struct pg_statement audit_statement = {
	.sql = "SELECT admin_audit_add($1::text, $2::text, $3::text, $4::jsonb, $5::text)",
	.takes_locks = true,
};

static void admin_on_audited(void *ctx UNUSED, const struct pg_answer *a)
{
	if (a->rc)
		log_warn("admin: a refused change could not be recorded in admin_audit");
}

/* The segment of the path that names the connection to close; false: another change. */
static bool admin_path_connection(struct str_view path, struct str_view *id)
{
	struct str_view rest = sv_skip(path, sizeof(CONNECTIONS_PATH));

	return sv_starts_with(path, SV(CONNECTIONS_PATH "/")) && sv_split(&rest, '/', id);
}

/* {"socket_id": the text} (heap).  It was not verified: it can be long, and have any bytes. */
static char *admin_recorded_id(struct str_view id)
{
	char text[RECORDED_ID_BYTES];
	size_t n = id.len < sizeof(text) ? id.len : sizeof(text);
	struct strbuf b;

	for (size_t i = 0; i < n; i++)
		text[i] = id.ptr[i] >= ' ' && id.ptr[i] <= '~' ? id.ptr[i] : '?';
	strbuf_init(&b, 64);
	strbuf_add_str(&b, "{\"socket_id\":");
	strbuf_add_json(&b, sv_n(text, n));
	strbuf_add_c(&b, '}');
	return strbuf_detach(&b);
}

/*
 * A known token requested a change that it may not make; result is the reason.  Rows cannot be
 * deleted for 30 days: their number and their size have limits.
 */
void admin_audit_refused(struct admin *a, const struct request *r, const char *who,
			 const char *result)
{
	char from[ADDRESS_TEXT_SIZE];
	struct str_view id;
	const char *values[5] = { who, r->is_unix ? "socket" : address_format(&r->peer, from) };
	const struct pg_call call = { .statement = &audit_statement, .n = 5, .values = values };
	uint64_t *rate = &a->refusals[sv_hash(sv(who), 0) % ADMIN_REFUSAL_SLOTS];
	bool is_connection = admin_path_connection(r->path, &id);
	char *action, *arguments;

	if (!limit_take(rate, REFUSALS_PER_MINUTE, 60 * USEC_PER_SEC, 1, clock_mono())) {
		log_gated(&unrecorded,
			  "admin: a refused change by the token %s is not in "
			  "admin_audit, which had %d in a minute",
			  who, REFUSALS_PER_MINUTE);
		return;
	}
	action = is_connection ? xstrdup(DISCONNECT_SOCKET)
			       : sv_dup(sv_skip(r->path, sizeof(API) - 1));
	arguments = is_connection ? admin_recorded_id(id) : NULL;
	values[2] = action;
	values[3] = arguments;
	values[4] = result;
	pg_pool_call(a->services.pool, &call, admin_on_audited, NULL);
	free(action);
	free(arguments);
}

/* Why PostgreSQL cannot take the body as a text; NULL: it can. */
static const char *admin_body_fault(struct str_view body)
{
	if (body.len && memchr(body.ptr, '\0', body.len))
		return "The body has a NUL in it.";
	return sv_is_utf8(body) ? NULL : "The body is not valid UTF-8.";
}

/*
 * Why the body of "token" is refused; NULL: it is not.  Rows of admin_audit have a token's name
 * only, so two tokens cannot have the same.
 */
static const char *admin_token_fault(struct admin *a, const struct request *r)
{
	const char *fault = NULL;
	struct str_view body, value, name;
	enum json_fault json;
	char *block, *room;

	if (!sv_eq(r->path, SV(API "token")))
		return NULL;
	json = json_check(r->body, &body);
	if (json == JSON_TOO_DEEP) /* PostgreSQL would read it, and its last "name" */
		return "The body is nested too deeply.";
	if (json != JSON_OK || json_kind(body) != '{')
		return NULL; /* admin_write() refuses it */
	value = json_member(body, SV("name"));
	if (!value.len)
		return NULL;
	if (json_kind(value) != '"')
		return "\"name\" must be a string.";
	block = room = xmalloc(value.len);
	if (json_decode_string(value, &room, &name) && admin_tokens_is_configured(a->tokens, name))
		fault = "The configuration has a token of this name; choose another name.";
	free(block);
	return fault;
}

/*
 * Takes the member "data" out of the body: the data of an event is published as it was written, and
 * PostgreSQL's jsonb would change it.  The data (heap), or NULL when the body has none.
 */
static char *admin_take_data(struct str_view body, struct strbuf *rest)
{
	struct str_view object, data = { 0 };
	struct json_member m;
	size_t at = 0;

	if (json_check(body, &object) != JSON_OK || json_kind(object) != '{') {
		strbuf_add_sv(rest, body); /* admin_write() refuses it */
		return NULL;
	}
	strbuf_add_c(rest, '{');
	while (json_next_member(object, &at, &m)) {
		if (sv_eq_c(m.name, "\"data\"")) {
			data = m.value;
			continue;
		}
		if (rest->len > 1)
			strbuf_add_c(rest, ',');
		strbuf_add_sv(rest, m.name);
		strbuf_add_c(rest, ':');
		strbuf_add_sv(rest, m.value);
	}
	strbuf_add_c(rest, '}');
	return data.len ? sv_dup(data) : NULL;
}

/* Requests the change; args: its arguments as JSON, data: of an event, or NULL. */
static void admin_write(struct admin_query *q, const char *action, const char *args,
			const char *data)
{
	char from[ADDRESS_TEXT_SIZE];
	const char *values[5] = { q->who,
				  q->r->is_unix ? "socket" : address_format(&q->r->peer, from) };

	q->text = xstrdup(action);
	q->done = admin_on_written;
	values[2] = q->text;
	values[3] = args;
	values[4] = data;
	admin_query_send(q, q->admin->services.pool, &write_statement, 5, values);
}

/* The last part of the path is the action. */
void admin_on_write(struct admin *a, struct request *r, const char *who)
{
	const char *fault = admin_body_fault(r->body);
	struct strbuf args;
	char *action, *data;

	if (!fault)
		fault = admin_token_fault(a, r);
	if (fault) {
		admin_audit_refused(a, r, who, fault);
		admin_query_refuse(r, 400, "invalid_request", sv(fault));
		return;
	}
	strbuf_init(&args, r->body.len + 1);
	data = admin_take_data(r->body, &args);
	action = sv_dup(sv_skip(r->path, sizeof(API) - 1));
	admin_write(admin_query_new(a, r, who), action, args.ptr, data);
	strbuf_release(&args);
	free(action);
	free(data);
}

/* The connection of the path may be one of another node, which SQL knows. */
static bool admin_is_elsewhere(const struct admin *a, const struct request *r, uint64_t *id)
{
	unsigned own = publish_node(a->services.publisher);
	struct str_view text;

	return own && admin_path_connection(r->path, &text) && socket_id_parse(text, id) &&
	       socket_id_node(*id) != own && *id != UINT64_MAX;
}

/* One connection; the body is not read. */
void admin_on_connection_disconnect(struct admin *a, struct request *r, const char *who)
{
	struct admin_connection c = { .app = NULL };
	char id[SOCKET_ID_SIZE];
	struct strbuf args;

	if (!admin_connections_find(&a->services, r, &c) && !admin_is_elsewhere(a, r, &c.id)) {
		admin_audit_refused(a, r, who, "refused: there is no such open connection");
		admin_query_refuse(r, 404, "not_found", SV("There is no such open connection."));
		return;
	}
	strbuf_init(&args, 96);
	strbuf_addf(&args, "{\"socket_id\":\"%s\"", socket_id_format(c.id, id));
	if (c.app) {
		strbuf_add_str(&args, ",\"app\":");
		strbuf_add_json(&args, sv(c.app));
	}
	strbuf_add_c(&args, '}');
	admin_write(admin_query_new(a, r, who), DISCONNECT_SOCKET, args.ptr, NULL);
	strbuf_release(&args);
	free(c.app);
}
