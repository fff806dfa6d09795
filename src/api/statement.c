/* SPDX-License-Identifier: MIT */
/*
 * From a call's values to the reply by way of the database.  statement_run() is called on a
 * transport's thread or a pool's; answers arrive on a pool's thread, or during the call when the
 * pool takes nothing more.  So nothing here belongs to one thread; the call itself is the state.
 */
#include <errno.h>
#include "base/log.h"
#include "base/mem.h"
#include "log/tail.h"
#include "svc/idempotency.h"
#include "api/reply.h"
#include "api/statement.h"

void statement_prepare(struct sync_action *action, bool writes)
{
	size_t n = action->n_fields + 2 + action->n_extra;
	struct strbuf call, keyed;

	if (!action->function || action->statement.sql)
		return;
	strbuf_init(&call, 128);
	strbuf_addf(&call, "%s($1::text, $2::jsonb", action->function);
	for (size_t i = 3; i <= n; i++)
		strbuf_addf(&call, ", $%zu", i);
	strbuf_add_c(&call, ')');
	if (writes) {
		/* CASE evaluates its second branch only when it is chosen */
		strbuf_init(&keyed, 512);
		strbuf_addf(&keyed,
			    "SELECT (x.answer).status, (x.answer).body, x.is_repeat FROM ("
			    "SELECT k.is_repeat, CASE WHEN k.is_repeat THEN k.answer "
			    "ELSE idempotency_close($1::text, $%zu::text, ("
			    "SELECT (f.status, answer_with_event(f.body::text, $%zu::text))"
			    "::idempotency_answer FROM %s AS f(status, body))) END AS answer "
			    "FROM idempotency_open($1::text, $%zu::text, $%zu::text) k OFFSET 0) x",
			    n + 2, n + 1, call.ptr, n + 2, n + 3);
		action->keyed.sql = strbuf_detach(&keyed);
		action->keyed.is_repeatable = true;
		action->keyed.takes_locks = true;
		strbuf_release(&keyed);
	}
	strbuf_init(&keyed, 0);
	if (writes)
		strbuf_addf(&keyed,
			    "SELECT f.status, answer_with_event(f.body::text, $%zu::text) "
			    "FROM %s AS f(status, body)",
			    n + 1, call.ptr);
	else
		strbuf_addf(&keyed, "SELECT * FROM %s", call.ptr);
	action->writes = writes;
	action->statement.sql = strbuf_detach(&keyed);
	action->statement.is_repeatable = action->is_repeatable;
	action->statement.is_unnamed = action->keyed.is_unnamed = action->runs_predicates;
	action->statement.takes_locks = writes;
	strbuf_release(&keyed);
	strbuf_release(&call);
}

/* ---- idempotency keys --------------------------------------------------------- */

/*
 * The digest of method, path, parameters and body (heap), without the parameters of the signature:
 * those differ when the request is repeated.
 */
static char *statement_request_digest(const struct request *r)
{
	struct str_view parts[3 + 2 * REQUEST_PARAMS_MAX] = { r->method, r->path, r->body };
	char hex[IDEMPOTENCY_DIGEST_HEX + 1];
	size_t n = 3;

	for (size_t i = 0; i < r->n_params; i++) {
		if (sv_starts_with(r->params[i].name, SV("auth_")) ||
		    sv_eq(r->params[i].name, SV("body_md5")))
			continue;
		parts[n++] = r->params[i].name;
		parts[n++] = r->params[i].value;
	}
	idempotency_digest(parts, n, hex);
	return xstrdup(hex);
}

bool statement_take_key(struct sync_call *sc)
{
	const struct sync_action *action = sc->call.route->action;
	struct str_view key = sc->call.r->header(sc->call.r, "Idempotency-Key");
	struct strbuf b;

	if (!key.len || !action->keyed.sql)
		return true;
	if (!idempotency_key_is_valid(key)) {
		sync_fail(sc, 400, "invalid_idempotency_key", NULL,
			  "An idempotency key is 1 to %d printable ASCII characters without a "
			  "space.",
			  IDEMPOTENCY_KEY_MAX);
		return false;
	}
	strbuf_init(&b, key.len + 32);
	if (*sc->call.caller.user_id)
		strbuf_addf(&b, "user %s ", sc->call.caller.user_id);
	else
		strbuf_add_str(&b, "sync ");
	strbuf_add_sv(&b, key);
	sc->key = strbuf_detach(&b);
	sc->digest = statement_request_digest(sc->call.r);
	strbuf_release(&b);
	return true;
}

/* ---- the answer ------------------------------------------------------------- */

/* SW404 and the like: the function refused, with the status in its SQLSTATE. */
static unsigned statement_status_of(const char *sqlstate)
{
	unsigned status = 0;

	if (strncmp(sqlstate, "SW", 2) == 0)
		status = (unsigned)strtoul(sqlstate + 2, NULL, 10);
	return status >= 400 && status < 600 ? status : 0;
}

static void statement_reply_refusal(struct sync_call *sc, const struct pg_answer *a)
{
	const struct route *route = sc->call.route;
	const char *message = pg_answer_message(a);
	unsigned status = statement_status_of(a->sqlstate);

	if (status) {
		sync_fail_text(sc, status, pg_answer_error_constraint(a), pg_answer_error_column(a),
			       message);
	} else if (strncmp(a->sqlstate, "22", 2) == 0 || strncmp(a->sqlstate, "23", 2) == 0) {
		sync_fail_text(sc, 400, "invalid_value", NULL, message);
	} else {
		log_error("api: %s %s: the database refused the statement with SQLSTATE %s: %s",
			  route->method, route->path, a->sqlstate, message);
		sync_fail_rc(sc, -EIO);
	}
}

void statement_add_error(struct strbuf *b, const struct pg_answer *a)
{
	if (a->rc == -EINVAL && statement_status_of(a->sqlstate)) {
		line_add_error(b, pg_answer_error_constraint(a), pg_answer_message(a));
		return;
	}
	if (a->rc == -EINVAL)
		log_error("api: a page of a stream failed with SQLSTATE %s: %s", a->sqlstate,
			  pg_answer_message(a));
	line_add_error_rc(b, a->rc == -EINVAL || !a->rc ? -EIO : a->rc);
}

/* Removes the spaces between the tokens of valid JSON: all answers have one form, however
 * PostgreSQL wrote them. */
static void statement_squeeze_json(struct strbuf *b)
{
	bool in_string = false;
	size_t n = 0;

	for (size_t i = 0; i < b->len; i++) {
		char c = b->ptr[i];

		if (in_string && c == '\\') {
			b->ptr[n++] = c;
			c = b->ptr[++i];
		} else if (c == '"') {
			in_string = !in_string;
		} else if (!in_string && (c == ' ' || c == '\n' || c == '\t' || c == '\r')) {
			continue;
		}
		b->ptr[n++] = c;
	}
	b->ptr[n] = '\0';
	b->len = n;
}

static const struct pg_statement serial_statement = {
	.sql = "SELECT body, drained, last_serial FROM answer_with_serial($1::text, $2::text)",
	.is_repeatable = true,
	.takes_locks = true,
};

/* Events that the statement gave serials count on this node. */
static void statement_note_drained(struct log_tail *tail, const struct pg_answer *a)
{
	int64_t n = pg_answer_int(a, 0, 1);

	if (n > 0 && tail)
		log_tail_note_drained(tail, (uint64_t)(pg_answer_int(a, 0, 2) - n + 1),
				      (unsigned)n);
}

/* The write is committed; without a serial its answer has null. */
static void on_serial(void *ctx, const struct pg_answer *a)
{
	struct sync_call *sc = ctx;
	struct strbuf body;

	if (!a->rc && pg_answer_rows(a) == 1) {
		statement_note_drained(sc->call.services->tail, a);
		strbuf_init(&body, 0);
		strbuf_add_sv(&body, pg_answer_view(a, 0, 0));
	} else {
		log_debug("api: the serial of a write's event was not read: %s%s", a->sqlstate,
			  a->rc == -EINVAL ? pg_answer_message(a) : "");
		sc->body.ptr[--sc->body.len] = '\0';
		strbuf_add_str(&sc->body, ",\"serial\":null}");
		strbuf_move(&body, &sc->body);
		strbuf_init(&sc->body, 0);
	}
	sync_reply(sc, sc->status, &body);
}

/* Replies, at once or with the serial of the write's event. */
static void statement_finish(struct sync_call *sc, unsigned status, struct strbuf *body)
{
	const char *values[2] = { sc->call.app->id, body->ptr };
	struct pg_call call = { &serial_statement, 2, values, statement_owner(sc) };

	if (!sc->wants_serial || !sc->call.route->action->writes || status >= 300 ||
	    !strstr(body->ptr, "\"event_id\":")) {
		sync_reply(sc, status, body);
		return;
	}
	sc->status = status;
	strbuf_release(&sc->body);
	strbuf_move(&sc->body, body);
	values[1] = sc->body.ptr;
	pg_pool_call(sc->call.services->pool, &call, on_serial, sc);
}

void statement_reply(struct sync_call *sc, const struct pg_answer *a)
{
	const struct route *route = sc->call.route;
	struct strbuf body;

	if (a->rc == -EINVAL) {
		statement_reply_refusal(sc, a);
	} else if (a->rc) {
		sync_fail_rc(sc, a->rc);
	} else if (pg_answer_rows(a) != 1 || pg_answer_columns(a) < 2) {
		log_error("api: %s %s: the SQL function did not return one row of status and body",
			  route->method, route->path);
		sync_fail_rc(sc, -EIO);
	} else {
		unsigned status = (unsigned)pg_answer_int(a, 0, 0);

		sc->is_repeat = sc->key && pg_answer_bool(a, 0, 2);
		if (route->action->done && status < 300)
			route->action->done(sc);
		strbuf_init(&body, 0);
		strbuf_add_sv(&body, pg_answer_view(a, 0, 1));
		statement_squeeze_json(&body);
		statement_finish(sc, status, &body);
	}
}

/* ---- verdicts of channel rules ------------------------------------------------ */

void statement_check_channel(struct sync_call *sc, const char *channel, authorize_done *done)
{
	struct authorize_question q = { .app = sc->call.app,
					.caller = sync_caller_json(sc),
					.channel = channel,
					.user = sc->call.caller.user };

	authorize_check(sc->call.services->authorizer, &q, done, sc);
}

static const char rule_slow[] = "The predicate of this channel's rule did not answer in time; "
				"try again later.";

static bool statement_is_rule_slow(const struct authorize_answer *a)
{
	return a->is_in_predicate && a->failure->rc == -ETIMEDOUT;
}

void statement_fail_verdict(struct sync_call *sc, const struct authorize_answer *a)
{
	if (statement_is_rule_slow(a))
		sync_fail_text(sc, 503, "rule_slow", NULL, rule_slow);
	else
		statement_reply(sc, a->failure);
}

void statement_add_verdict_error(struct strbuf *b, const struct authorize_answer *a)
{
	if (statement_is_rule_slow(a))
		line_add_error(b, "rule_slow", rule_slow);
	else
		statement_add_error(b, a->failure);
}

static void on_verdicts(void *ctx, const struct authorize_answer *failure)
{
	struct sync_call *sc = ctx;

	if (failure)
		statement_fail_verdict(sc, failure);
	else
		statement_run_on(sc, sc->pool);
}

/* ---- the call ------------------------------------------------------------------- */

static void on_statement_answer(void *ctx, const struct pg_answer *a)
{
	struct sync_call *sc = ctx;

	if (!verdicts_are_needed(a)) {
		statement_reply(sc, a);
		return;
	}
	sc->verdicts.authorizer = sc->call.services->authorizer;
	sc->verdicts.question = (struct authorize_question){ .app = sc->call.app,
							     .caller = sync_caller_json(sc),
							     .user = sc->call.caller.user };
	verdicts_request(&sc->verdicts, a, on_verdicts, sc);
}

struct pg_owner statement_owner(const struct sync_call *sc)
{
	return (struct pg_owner){ sc->call.app->runtime->number, sc->call.caller.user };
}

void statement_run(struct sync_call *sc)
{
	const struct api_services *services = sc->call.services;

	statement_run_on(sc, sc->call.route->action->runs_predicates
				     ? authorizer_predicates(services->authorizer)
				     : services->pool);
}

void statement_run_on(struct sync_call *sc, struct pg_pool *pool)
{
	const struct sync_action *action = sc->call.route->action;
	const char *values[PG_POOL_PARAMS_MAX] = { sc->call.app->id };
	const char *json = sync_caller_json(sc);
	size_t n = 2;
	char position[POSITION_SIZE];
	struct strbuf caller;
	struct pg_call call;

	strbuf_init(&caller, strlen(json) + sc->verdicts.known.len + 16);
	verdicts_add_caller(&caller, json, &sc->verdicts);
	values[1] = caller.ptr;
	for (size_t i = 0; i < action->n_fields; i++)
		values[n++] = sc->values[i].text;
	for (unsigned i = 0; i < action->n_extra; i++)
		values[n++] = sc->extra[i];
	if (action->writes) {
		position_format(&sc->position, position);
		values[n++] = *position ? position : NULL;
	}
	if (sc->key) {
		values[n++] = sc->key;
		values[n++] = sc->digest;
	}
	sc->pool = pool;
	call = (struct pg_call){ sc->key ? &action->keyed : &action->statement, (int)n, values,
				 statement_owner(sc) };
	pg_pool_call(pool, &call, on_statement_answer, sc);
	strbuf_release(&caller);
}
