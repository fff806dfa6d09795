/* SPDX-License-Identifier: MIT */
/*
 * Verdicts are cached in a map under one mutex, which is a leaf and held for a lookup.  A query
 * records the generation at its start, and each notified change begins a new generation: a verdict
 * of an earlier generation is not cached, because it may be from before the change.
 *
 * A query is answered on the thread that called authorize_check() (from the cache), on the pool's
 * thread, or on that of the predicates' pool.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/metric.h"
#include "svc/authorize.h"

#define CACHE_BYTES (8 << 20)
#define CACHE_US    (60 * USEC_PER_SEC) /* in case a notification is missed */
/* A predicate that fails does so for every subscriber: at most LOG_LINES a window are logged. */
#define LOG_LINES     10
#define LOG_WINDOW_US (10 * USEC_PER_SEC)
#define CHANNEL_RULES "scopewire_rules"

static const struct pg_statement authorize_statement = {
	.sql = "SELECT verdict, name, avatar FROM channel_authorize($1::text, $2::jsonb, $3::text)",
	.is_repeatable = true,
};
/* A predicate can take session locks, which the end of the transaction does not release. */
static const struct pg_statement predicate_statement = {
	.sql = "SELECT allowed, trouble, pg_advisory_unlock_all()"
	       " FROM channel_evaluate($1::text, $2::jsonb, $3::text)",
	.is_repeatable = true,
	.is_unnamed = true,
};
static const struct pg_statement warning_statement = {
	.sql = "SELECT channel_predicates_warning()",
	.is_repeatable = true,
	.is_unnamed = true,
};

/* One block: the struct, followed by its texts. */
struct verdict {
	struct str_view key; /* app, caller, channel, each with a NUL */
	const char *app, *name, *avatar;
	struct user_key user;
	usec_t until; /* mono; 0: invalid */
	size_t bytes;
	bool is_allowed, is_uncertain;
};

/* For clang: this thread holds the lock. */
static struct TSA(capability("mutex")) verdicts_held {
	char unused;
} verdicts_held UNUSED;

struct authorizer {
	struct pg_pool *pool, *predicates;
	usec_t predicate_cache;
	pthread_mutex_t lock;
	struct map verdicts OWNED_BY(verdicts_held); /* struct verdict, by its key */
	size_t bytes OWNED_BY(verdicts_held);	     /* of all verdicts */
	_Atomic uint64_t generation;		     /* changed under the lock */
	void (*on_change)(void *ctx, const char *app, const char *user_id);
	void *change_ctx;
	/* on the thread of the predicates' pool only */
	usec_t log_since; /* mono */
	unsigned log_lines;
};

static void verdicts_lock(struct authorizer *a) TSA(acquire_capability(verdicts_held)) NO_TSA
{
	pthread_mutex_lock(&a->lock);
}

static void verdicts_unlock(struct authorizer *a) TSA(release_capability(verdicts_held)) NO_TSA
{
	pthread_mutex_unlock(&a->lock);
}

/* One block, like struct verdict: the struct, followed by its texts. */
struct question {
	struct authorizer *a;
	authorize_done *done;
	void *ctx;
	struct str_view key;
	const char *app, *caller, *channel;
	struct user_key user;
	struct pg_owner owner;
	uint64_t generation;
	bool leaves_predicates, is_uncertain;
	usec_t started;	     /* mono */
	usec_t asked;	     /* wall */
	char *name, *avatar; /* heap, or NULL */
};

/* ---- cache ------------------------------------------------------------------ */

static size_t verdict_text_room(const char *text)
{
	return text ? strlen(text) + 1 : 0;
}

static char *verdict_put_text(char **at, const char *text)
{
	char *start = *at;

	if (!text)
		return NULL;
	memcpy(start, text, verdict_text_room(text));
	*at += verdict_text_room(text);
	return start;
}

static struct verdict *verdict_new(const struct question *q, bool allowed, usec_t until)
{
	size_t room = q->key.len + verdict_text_room(q->app) + verdict_text_room(q->name) +
		      verdict_text_room(q->avatar);
	struct verdict *v = xmalloc(sizeof(*v) + room);
	char *at = (char *)(v + 1);

	memcpy(at, q->key.ptr, q->key.len);
	v->key = sv_n(at, q->key.len);
	at += q->key.len;
	v->app = verdict_put_text(&at, q->app);
	v->name = verdict_put_text(&at, q->name);
	v->avatar = verdict_put_text(&at, q->avatar);
	v->user = q->user;
	v->until = until;
	v->bytes = sizeof(*v) + room;
	v->is_allowed = allowed;
	v->is_uncertain = q->is_uncertain;
	return v;
}

static void verdicts_clear_locked(struct authorizer *a) NEEDS_LOCK(verdicts_held)
{
	struct verdict *v;
	size_t at = 0;

	while ((v = map_next(&a->verdicts, &at)))
		free(v);
	map_release(&a->verdicts);
	map_init(&a->verdicts);
	a->bytes = 0;
}

static void verdicts_put(const struct question *q, bool allowed, usec_t until)
{
	struct authorizer *a = q->a;
	struct verdict *v = verdict_new(q, allowed, until), *old;

	verdicts_lock(a);
	if (q->generation != a->generation || !pg_pool_is_up(a->predicates)) {
		verdicts_unlock(a);
		free(v);
		return;
	}
	if (v->bytes > CACHE_BYTES - a->bytes)
		verdicts_clear_locked(a);
	a->bytes += v->bytes;
	/* The key is part of the value: the old one leaves the map before it is freed. */
	old = map_del(&a->verdicts, v->key);
	map_put(&a->verdicts, v->key, v);
	if (old)
		a->bytes -= old->bytes;
	verdicts_unlock(a);
	free(old);
}

/* Copies the cached verdict into q; false: there is none. */
static bool verdicts_get(struct question *q, bool *allowed)
{
	struct authorizer *a = q->a;
	const struct verdict *v;
	bool found;

	verdicts_lock(a);
	q->generation = a->generation;
	v = map_get(&a->verdicts, q->key);
	found = v && clock_mono() < v->until;
	if (found) {
		*allowed = v->is_allowed;
		q->is_uncertain = v->is_uncertain;
		q->name = v->name ? xstrdup(v->name) : NULL;
		q->avatar = v->avatar ? xstrdup(v->avatar) : NULL;
	}
	verdicts_unlock(a);
	return found;
}

static void verdicts_drop_user_locked(struct authorizer *a, struct user_key user, const char *app)
	NEEDS_LOCK(verdicts_held)
{
	struct verdict *v;
	size_t at = 0;

	while ((v = map_next(&a->verdicts, &at)))
		if (user_key_eq(v->user, user) && strcmp(v->app, app) == 0)
			v->until = 0;
}

/* The payload is "ID APP" when a user changed.  Any other payload, or NULL (notifications may have
 * been missed), makes every verdict invalid. */
static void on_rules_change(void *ctx, const char *payload)
{
	struct authorizer *a = ctx;
	ptrdiff_t space = sv_find(sv(payload), ' ');
	const char *app = NULL;
	char user_id[USER_ID_SIZE];

	if (space > 0 && user_id_read(sv_n(payload, (size_t)space), user_id))
		app = payload + space + 1;
	verdicts_lock(a);
	a->generation++;
	if (app)
		verdicts_drop_user_locked(a, user_key_of(user_id), app);
	else
		verdicts_clear_locked(a);
	verdicts_unlock(a);
	if (a->on_change)
		a->on_change(a->change_ctx, app, app ? user_id : NULL);
}

/* ---- questions ---------------------------------------------------------------- */

static struct question *authorize_question_new(struct authorizer *a,
					       const struct authorize_question *from,
					       authorize_done *done, void *ctx)
{
	size_t n = verdict_text_room(from->app->id) + verdict_text_room(from->caller) +
		   verdict_text_room(from->channel);
	struct question *q = xcalloc(1, sizeof(*q) + n);
	char *at = (char *)(q + 1);

	q->a = a;
	q->started = clock_mono();
	q->asked = clock_wall();
	q->done = done;
	q->ctx = ctx;
	q->user = from->user;
	q->leaves_predicates = from->leaves_predicates;
	q->owner = (struct pg_owner){ from->app->runtime->number, from->user };
	q->key = sv_n(at, n);
	q->app = verdict_put_text(&at, from->app->id);
	q->caller = verdict_put_text(&at, from->caller);
	q->channel = verdict_put_text(&at, from->channel);
	return q;
}

static void authorize_question_free(struct question *q)
{
	free(q->name);
	free(q->avatar);
	free(q);
}

static void authorize_count(const struct question *q, enum metric_authorization how)
{
	metric_add_at(METRIC_AUTHORIZE, how, 1);
	metric_observe(METRIC_AUTHORIZE_SECONDS, clock_mono() - q->started, 1);
}

static void authorize_answer_send(struct question *q, bool allowed)
{
	struct authorize_answer a = { .is_allowed = allowed,
				      .is_uncertain = q->is_uncertain,
				      .as_of = q->generation,
				      .asked = q->asked,
				      .name = q->name,
				      .avatar = q->avatar };

	authorize_count(q, allowed ? AUTHORIZED : NOT_AUTHORIZED);
	q->done(q->ctx, &a);
	authorize_question_free(q);
}

static void authorize_answer_failure(struct question *q, const struct pg_answer *why,
				     bool in_predicate)
{
	struct authorize_answer a = { .failure = why, .is_in_predicate = in_predicate };

	authorize_count(q, AUTHORIZATION_FAILED);
	q->done(q->ctx, &a);
	authorize_question_free(q);
}

static void authorize_query(struct question *q, struct pg_pool *pool, const struct pg_statement *st,
			    pg_pool_done *done)
{
	const char *values[] = { q->app, q->caller, q->channel };
	struct pg_call call = { st, ARRAY_SIZE(values), values, q->owner };

	pg_pool_call(pool, &call, done, q);
}

static void authorize_log_trouble(struct authorizer *a, const char *app, const char *trouble)
{
	usec_t now = clock_mono();

	if (now - a->log_since > LOG_WINDOW_US) {
		a->log_since = now;
		a->log_lines = 0;
	}
	if (a->log_lines++ < LOG_LINES)
		log_warn("app %s: %s", app, trouble);
}

static void authorize_log_slow(const struct question *q)
{
	struct strbuf text;

	strbuf_init(&text, 0);
	strbuf_addf(&text, "the predicates of %s took too long", q->channel);
	authorize_log_trouble(q->a, q->app, text.ptr);
	strbuf_release(&text);
}

static void on_predicates(void *ctx, const struct pg_answer *answered)
{
	struct question *q = ctx;
	usec_t good_for = q->a->predicate_cache;
	bool allowed;

	if (answered->rc) {
		if (answered->rc == -ETIMEDOUT)
			authorize_log_slow(q);
		authorize_answer_failure(q, answered, true);
		return;
	}
	if (*pg_answer_text(answered, 0, 1))
		authorize_log_trouble(q->a, q->app, pg_answer_text(answered, 0, 1));
	allowed = pg_answer_bool(answered, 0, 0);
	q->is_uncertain = !allowed && *pg_answer_text(answered, 0, 1);
	if (good_for)
		verdicts_put(q, allowed, clock_mono() + good_for);
	authorize_answer_send(q, allowed);
}

/* A column of the only row (heap); NULL when it is empty or SQL's NULL. */
static char *answer_dup_nonempty(const struct pg_answer *a, int column)
{
	const char *text = pg_answer_text(a, 0, column);

	return *text ? xstrdup(text) : NULL;
}

static void on_verdict(void *ctx, const struct pg_answer *answered)
{
	struct question *q = ctx;
	const char *verdict;

	if (answered->rc) {
		authorize_answer_failure(q, answered, false);
		return;
	}
	verdict = pg_answer_text(answered, 0, 0);
	q->name = answer_dup_nonempty(answered, 1);
	q->avatar = answer_dup_nonempty(answered, 2);
	if (strcmp(verdict, "ask") == 0 && q->leaves_predicates) {
		q->done(q->ctx, &(struct authorize_answer){ .is_left = true });
		authorize_question_free(q);
		return;
	}
	if (strcmp(verdict, "ask") == 0) {
		authorize_query(q, q->a->predicates, &predicate_statement, on_predicates);
		return;
	}
	verdicts_put(q, verdict[0] == 'y', clock_mono() + CACHE_US);
	authorize_answer_send(q, verdict[0] == 'y');
}

void authorize_check(struct authorizer *a, const struct authorize_question *from,
		     authorize_done *done, void *ctx)
{
	struct question *q = authorize_question_new(a, from, done, ctx);
	bool allowed;

	if (verdicts_get(q, &allowed))
		authorize_answer_send(q, allowed);
	else
		authorize_query(q, a->pool, &authorize_statement, on_verdict);
}

static void on_warning(void *ctx, const struct pg_answer *answered)
{
	(void)ctx;
	if (answered->rc == 0 && *pg_answer_text(answered, 0, 0))
		log_warn("%s", pg_answer_text(answered, 0, 0));
}

/* ---- the outside -------------------------------------------------------------- */

int authorizer_start(struct pg_pool *pool, const struct authorizer_conf *conf,
		     struct authorizer **out)
{
	struct authorizer *a = xcalloc(1, sizeof(*a));
	struct pg_pool_conf pc = conf->predicates;
	int rc;

	a->pool = pool;
	a->predicate_cache = conf->predicate_cache_ms * USEC_PER_MSEC;
	a->on_change = conf->on_change;
	a->change_ctx = conf->change_ctx;
	/* microseconds: no other process will have had it */
	atomic_init(&a->generation, (uint64_t)clock_wall());
	pthread_mutex_init(&a->lock, NULL);
	map_init(&a->verdicts);
	pc.pool = POOL_RULES;
	pc.depth = 1;
	pc.listen = CHANNEL_RULES;
	pc.on_notify = on_rules_change;
	pc.notify_ctx = a;
	a->predicates = pg_pool_new(&pc);
	rc = pg_pool_start(a->predicates);
	if (rc) {
		authorizer_free(a);
		return rc;
	}
	pg_pool_call(a->predicates, &(struct pg_call){ .statement = &warning_statement },
		     on_warning, a);
	*out = a;
	return 0;
}

uint64_t authorize_generation(const struct authorizer *a)
{
	return a->generation;
}

struct pg_pool *authorizer_predicates(const struct authorizer *a)
{
	return a->predicates;
}

void authorizer_stop(struct authorizer *a)
{
	if (a)
		pg_pool_stop(a->predicates);
}

void authorizer_free(struct authorizer *a)
{
	if (!a)
		return;
	pg_pool_free(a->predicates);
	verdicts_lock(a);
	verdicts_clear_locked(a);
	verdicts_unlock(a);
	map_release(&a->verdicts);
	pthread_mutex_destroy(&a->lock);
	free(a);
}
