/* SPDX-License-Identifier: MIT */
/*
 * A function names at most 100 channels at a time (require_evaluated() in SQL), so the calls that
 * the cache answers at once do not nest deeper.
 */
#include <errno.h>
#include "base/log.h"
#include "base/mem.h"
#include "api/verdicts.h"

/* Two channels for each row that a list reads, and for each that it counts. */
#define VERDICTS_MAX 1000
#define SQLSTATE_ASK "SW001"

void verdicts_init(struct verdicts *v)
{
	*v = (struct verdicts){ 0 };
	strbuf_init(&v->known, 0);
	strbuf_init(&v->missing, 0);
}

void verdicts_release(struct verdicts *v)
{
	strbuf_release(&v->known);
	strbuf_release(&v->missing);
}

void verdicts_forget(struct verdicts *v)
{
	strbuf_reset(&v->known);
	v->n = 0;
}

bool verdicts_are_needed(const struct pg_answer *a)
{
	return a->rc == -EINVAL && strcmp(a->sqlstate, SQLSTATE_ASK) == 0;
}

static void verdicts_next(struct verdicts *v);

static void verdicts_on_answer(void *ctx, const struct authorize_answer *a)
{
	struct verdicts *v = ctx;

	if (a->failure) {
		v->done(v->ctx, a);
		return;
	}
	strbuf_add_str(&v->known, a->is_allowed ? ":true" : ":false");
	verdicts_next(v);
}

/* Requests the verdict about the next channel that the function named. */
static void verdicts_next(struct verdicts *v)
{
	struct str_view rest = sv_skip(strbuf_view(&v->missing), v->n_read), name;
	struct authorize_question q = v->question;
	char *channel;

	if (!sv_split(&rest, ' ', &name)) {
		v->done(v->ctx, NULL);
		return;
	}
	v->n_read = v->missing.len - rest.len;
	if (v->n++ == VERDICTS_MAX) {
		struct pg_answer failed = { .rc = -EIO };
		struct authorize_answer a = { .failure = &failed };

		log_error("api: a SQL function needs verdicts of more than %d channels",
			  VERDICTS_MAX);
		v->done(v->ctx, &a);
		return;
	}
	if (v->n > 1)
		strbuf_add_c(&v->known, ',');
	strbuf_add_json(&v->known, name);
	q.channel = channel = sv_dup(name);
	authorize_check(v->authorizer, &q, verdicts_on_answer, v);
	free(channel);
}

void verdicts_request(struct verdicts *v, const struct pg_answer *needed, verdicts_done *done,
		      void *ctx)
{
	v->done = done;
	v->ctx = ctx;
	v->n_read = 0;
	strbuf_reset(&v->missing);
	strbuf_add_str(&v->missing, pg_answer_message(needed));
	verdicts_next(v);
}

void verdicts_add_caller(struct strbuf *b, const char *caller, const struct verdicts *v)
{
	strbuf_add_sv(b, sv_n(caller, strlen(caller) - 1));
	strbuf_add_str(b, ",\"asked\":{");
	strbuf_add_sv(b, strbuf_view(&v->known));
	strbuf_add_str(b, "}}");
}
