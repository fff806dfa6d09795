/* SPDX-License-Identifier: MIT */
/*
 * The memory of verdicts is a map under one mutex, which is a leaf and held for a lookup.  A
 * verdict is stamped with the generation in which it was asked for; each change that is heard of
 * begins a new one, so that an answer made before the change is not remembered after it.
 */
#include <errno.h>
#include <pthread.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "svc/authorize.h"

#define MEMORY_BYTES (8 << 20)
#define MEMORY_US    (60 * USEC_PER_SEC) /* should a change not be heard of after all */
/* A predicate that fails does so for every subscriber: so many lines at most, each so often. */
#define LOG_LINES     10
#define LOG_WINDOW_US (10 * USEC_PER_SEC)
#define CHANNEL_RULES "scopewire_rules"

static const struct pg_statement authorize_statement = {
	.sql = "SELECT verdict, name, avatar FROM channel_authorize($1, $2, $3)",
	.repeatable = true,
};
static const struct pg_statement ask_statement = {
	.sql = "SELECT allowed, trouble FROM channel_ask($1, $2, $3)",
	.repeatable = true,
};

/* One block: its texts stand behind it. */
struct verdict {
	struct str_view key; /* app, caller, channel, each with a NUL */
	const char *app, *name, *avatar;
	int64_t user_id;
	usec_t until; /* mono; 0: of old */
	size_t bytes;
	bool allowed;
};

struct authorizer {
	struct pg_pool *pool, *predicates;
	usec_t predicate_cache;
	pthread_mutex_t lock;
	struct map verdicts; /* lock: struct verdict, by its key */
	size_t bytes;	     /* lock: of all of them */
	uint64_t generation; /* lock */
	usec_t log_since;    /* the predicates' pool's thread only, as the next */
	unsigned log_lines;
};

/* One block, as a verdict. */
struct question {
	struct authorizer *a;
	authorize_done *done;
	void *ctx;
	struct str_view key;
	const char *app, *caller, *channel;
	int64_t user_id;
	uint64_t generation;
	char *name, *avatar; /* heap, or NULL */
};

/* ---- memory ----------------------------------------------------------------- */

static size_t room_of(const char *text)
{
	return text ? strlen(text) + 1 : 0;
}

static char *put_text(char **at, const char *text)
{
	char *start = *at;

	if (!text)
		return NULL;
	memcpy(start, text, room_of(text));
	*at += room_of(text);
	return start;
}

static struct verdict *verdict_new(const struct question *q, bool allowed, usec_t until)
{
	size_t room = q->key.len + room_of(q->app) + room_of(q->name) + room_of(q->avatar);
	struct verdict *v = xmalloc(sizeof(*v) + room);
	char *at = (char *)(v + 1);

	memcpy(at, q->key.ptr, q->key.len);
	v->key = sv_n(at, q->key.len);
	at += q->key.len;
	v->app = put_text(&at, q->app);
	v->name = put_text(&at, q->name);
	v->avatar = put_text(&at, q->avatar);
	v->user_id = q->user_id;
	v->until = until;
	v->bytes = sizeof(*v) + room;
	v->allowed = allowed;
	return v;
}

static void forget_all_locked(struct authorizer *a)
{
	struct verdict *v;
	size_t at = 0;

	while ((v = map_next(&a->verdicts, &at)))
		free(v);
	map_release(&a->verdicts);
	map_init(&a->verdicts);
	a->bytes = 0;
}

static void remember(const struct question *q, bool allowed, usec_t until)
{
	struct authorizer *a = q->a;
	struct verdict *v = verdict_new(q, allowed, until), *old;

	pthread_mutex_lock(&a->lock);
	if (q->generation != a->generation || !pg_pool_is_up(a->predicates)) {
		pthread_mutex_unlock(&a->lock);
		free(v);
		return;
	}
	if (a->bytes + v->bytes > MEMORY_BYTES)
		forget_all_locked(a);
	a->bytes += v->bytes;
	/* The key lies in the value: the old one has to be out before it is freed. */
	old = map_del(&a->verdicts, v->key);
	map_put(&a->verdicts, v->key, v);
	if (old)
		a->bytes -= old->bytes;
	pthread_mutex_unlock(&a->lock);
	free(old);
}

/* Copies what is remembered into q; false: nothing is. */
static bool recall(struct question *q, bool *allowed)
{
	struct authorizer *a = q->a;
	const struct verdict *v;
	bool found;

	pthread_mutex_lock(&a->lock);
	q->generation = a->generation;
	v = map_get(&a->verdicts, q->key);
	found = v && clock_mono() < v->until;
	if (found) {
		*allowed = v->allowed;
		q->name = v->name ? xstrdup(v->name) : NULL;
		q->avatar = v->avatar ? xstrdup(v->avatar) : NULL;
	}
	pthread_mutex_unlock(&a->lock);
	return found;
}

static void forget_user_locked(struct authorizer *a, int64_t user_id, const char *app)
{
	struct verdict *v;
	size_t at = 0;

	while ((v = map_next(&a->verdicts, &at)))
		if (v->user_id == user_id && strcmp(v->app, app) == 0)
			v->until = 0;
}

/* "ID APP", a user of whom something changed; else a rule, or nobody knows what. */
static void on_change(void *ctx, const char *payload)
{
	struct authorizer *a = ctx;
	ptrdiff_t space = sv_find(sv(payload), ' ');
	uint64_t user_id;

	pthread_mutex_lock(&a->lock);
	a->generation++;
	if (space > 0 && sv_to_u64(sv_n(payload, (size_t)space), INT64_MAX, &user_id))
		forget_user_locked(a, (int64_t)user_id, payload + space + 1);
	else
		forget_all_locked(a);
	pthread_mutex_unlock(&a->lock);
}

/* ---- questions ---------------------------------------------------------------- */

static struct question *question_new(struct authorizer *a, const struct authorize_question *from,
				     authorize_done *done, void *ctx)
{
	size_t n = room_of(from->app) + room_of(from->caller) + room_of(from->channel);
	struct question *q = xcalloc(1, sizeof(*q) + n);
	char *at = (char *)(q + 1);

	q->a = a;
	q->done = done;
	q->ctx = ctx;
	q->user_id = from->user_id;
	q->key = sv_n(at, n);
	q->app = put_text(&at, from->app);
	q->caller = put_text(&at, from->caller);
	q->channel = put_text(&at, from->channel);
	return q;
}

static void question_free(struct question *q)
{
	free(q->name);
	free(q->avatar);
	free(q);
}

static void answer(struct question *q, bool allowed)
{
	struct authorize_answer a = { .allowed = allowed, .name = q->name, .avatar = q->avatar };

	q->done(q->ctx, &a);
	question_free(q);
}

static void fail(struct question *q, const struct pg_answer *why, bool in_predicate)
{
	struct authorize_answer a = { .failure = why, .in_predicate = in_predicate };

	q->done(q->ctx, &a);
	question_free(q);
}

static void ask(struct question *q, struct pg_pool *pool, const struct pg_statement *st,
		pg_pool_done *done)
{
	const char *values[] = { q->app, q->caller, q->channel };

	pg_pool_query(pool, st, ARRAY_SIZE(values), values, done, q);
}

static void log_trouble(struct authorizer *a, const char *app, const char *trouble)
{
	usec_t now = clock_mono();

	if (now - a->log_since > LOG_WINDOW_US) {
		a->log_since = now;
		a->log_lines = 0;
	}
	if (a->log_lines++ < LOG_LINES)
		log_warn("app %s: %s", app, trouble);
}

static void log_slow(const struct question *q)
{
	struct strbuf text;

	strbuf_init(&text, 0);
	strbuf_addf(&text, "the predicates of %s took too long", q->channel);
	log_trouble(q->a, q->app, text.ptr);
	strbuf_release(&text);
}

static void on_predicates(void *ctx, const struct pg_answer *answered)
{
	struct question *q = ctx;
	usec_t good_for = q->a->predicate_cache;
	bool allowed;

	if (answered->rc) {
		if (answered->rc == -ETIMEDOUT)
			log_slow(q);
		fail(q, answered, true);
		return;
	}
	if (*pg_answer_text(answered, 0, 1))
		log_trouble(q->a, q->app, pg_answer_text(answered, 0, 1));
	allowed = pg_answer_text(answered, 0, 0)[0] == 't';
	if (good_for)
		remember(q, allowed, clock_mono() + good_for);
	answer(q, allowed);
}

/* A text of the only row on the heap; NULL for NULL. */
static char *take_text(const struct pg_answer *a, int column)
{
	const char *text = pg_answer_text(a, 0, column);

	return *text ? xstrdup(text) : NULL;
}

static void on_verdict(void *ctx, const struct pg_answer *answered)
{
	struct question *q = ctx;
	const char *verdict;

	if (answered->rc) {
		fail(q, answered, false);
		return;
	}
	verdict = pg_answer_text(answered, 0, 0);
	q->name = take_text(answered, 1);
	q->avatar = take_text(answered, 2);
	if (strcmp(verdict, "ask") == 0) {
		ask(q, q->a->predicates, &ask_statement, on_predicates);
		return;
	}
	remember(q, verdict[0] == 'y', clock_mono() + MEMORY_US);
	answer(q, verdict[0] == 'y');
}

void authorize_check(struct authorizer *a, const struct authorize_question *from,
		     authorize_done *done, void *ctx)
{
	struct question *q = question_new(a, from, done, ctx);
	bool allowed;

	if (recall(q, &allowed))
		answer(q, allowed);
	else
		ask(q, a->pool, &authorize_statement, on_verdict);
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
	pthread_mutex_init(&a->lock, NULL);
	map_init(&a->verdicts);
	pc.depth = 1;
	pc.listen = CHANNEL_RULES;
	pc.on_notify = on_change;
	pc.notify_ctx = a;
	a->predicates = pg_pool_new(&pc);
	rc = pg_pool_start(a->predicates);
	if (rc)
		authorizer_free(a);
	else
		*out = a;
	return rc;
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
	forget_all_locked(a);
	map_release(&a->verdicts);
	pthread_mutex_destroy(&a->lock);
	free(a);
}
