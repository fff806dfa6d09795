/* SPDX-License-Identifier: MIT */
/*
 * A query is on the heap from the request to its reply.  It is sent on the http thread of the admin
 * listener and answered on the thread of the pool.
 */
#include <errno.h>
#include "base/annotate.h"
#include "base/log.h"
#include "base/mem.h"
#include "conf/conf_table.h"
#include "admin/query.h"

struct admin_query *admin_query_new(struct admin *admin, struct request *r, const char *who)
{
	struct admin_query *q = xcalloc(1, sizeof(*q));

	q->admin = admin;
	q->r = r;
	q->who = xstrdup(who ? who : "");
	return q;
}

void admin_query_free(struct admin_query *q)
{
	if (!q)
		return;
	free(q->who);
	free(q->text);
	free(q);
}

void admin_query_refuse(struct request *r, unsigned status, const char *code, struct str_view text)
{
	struct reply reply = { .status = status, .retry_after_s = status == 503 ? 1 : 0 };

	strbuf_init(&reply.body, text.len + 64);
	strbuf_addf(&reply.body, "{\"error\":{\"code\":\"%s\",\"message\":", code);
	strbuf_add_json(&reply.body, text);
	strbuf_add_str(&reply.body, "}}");
	request_reply_full(r, &reply);
}

/* Values that a client sent are its own mistake: classes 22 (data) and 23 (constraints), and what
 * our functions raise. */
static bool query_is_refusal(const struct pg_answer *a)
{
	struct str_view state = sv(a->sqlstate);

	return a->rc == -EINVAL && (sv_starts_with(state, SV("22")) ||
				    sv_starts_with(state, SV("23")) || sv_eq(state, SV("P0001")));
}

static void query_reply_failure(struct request *r, const struct pg_answer *a)
{
	if (query_is_refusal(a)) {
		admin_query_refuse(r, 400, "invalid_request", sv(pg_answer_message(a)));
	} else if (a->rc == -EINVAL) {
		log_error("admin: a statement failed: %s (%s)", pg_answer_message(a), a->sqlstate);
		admin_query_refuse(r, 500, "database_error", sv(pg_answer_message(a)));
	} else if (a->rc == -ECONNABORTED || a->rc == -ETIMEDOUT) {
		admin_query_refuse(r, 503, "outcome_unknown",
				   SV("The database did not answer; what was requested may have "
				      "been done."));
	} else {
		admin_query_refuse(r, 503, "database_unavailable",
				   SV("The database is not available, and nothing was done."));
	}
}

void admin_query_reply(struct admin_query *q, const struct pg_answer *a)
{
	if (a->rc || pg_answer_rows(a) != 1)
		query_reply_failure(q->r, a);
	else
		request_reply(q->r, (unsigned)pg_answer_int(a, 0, 0), pg_answer_view(a, 0, 1));
	admin_query_free(q);
}

static void query_on_answer(void *ctx, const struct pg_answer *a)
{
	struct admin_query *q = ctx;

	if (q->done)
		q->done(q, a);
	else
		admin_query_reply(q, a);
}

void admin_query_send(struct admin_query *q, struct pg_pool *pool, const struct pg_statement *st,
		      int n, const char *const *values)
{
	const struct pg_call call = { .statement = st, .n = n, .values = values };

	pg_pool_call(pool, &call, query_on_answer, q);
}

bool admin_query_arguments(struct request *r, const char *words, struct strbuf *out)
{
	strbuf_init(out, 128);
	for (size_t i = 0; i < r->n_params; i++) {
		struct str_view name = r->params[i].name, value = r->params[i].value;
		char *word = sv_dup(name);
		bool is_known = strlen(word) == name.len && word_in_list(words, word);

		free(word);
		if (!is_known || !sv_is_utf8(value)) {
			strbuf_release(out);
			admin_query_refuse(r, 400, "invalid_request",
					   is_known ? SV("A parameter is not valid UTF-8.")
						    : SV("There is a parameter that this path does "
							 "not have."));
			return false;
		}
		strbuf_add_c(out, out->len ? ',' : '{');
		strbuf_add_json(out, name);
		strbuf_add_c(out, ':');
		strbuf_add_json(out, value);
	}
	strbuf_add_str(out, out->len ? "}" : "{}");
	return true;
}
