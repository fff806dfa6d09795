/* SPDX-License-Identifier: MIT */
/*
 * A thread of its own, with a sender of its own, so that neither a slow endpoint of webhooks delays
 * an authorization nor the other way round.  Questions arrive in a mailbox; the answers that are
 * remembered and the requests under way belong to the thread.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include "base/log_gate.h"
#include "base/mailbox.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/metric.h"
#include "webhook/app_auth.h"
#include "webhook/sender.h"
#include "wire/json.h"

#define QUESTIONS_MAX  4096   /* in the mailbox */
#define REQUESTS_MAX   1024   /* under way */
#define OF_APP_MAX     64     /* of them, of one application */
#define REMEMBERED_MAX 100000 /* answers */
#define TTL_MAX_S      3600
#define IDLE_MS	       1000

static struct log_gate failures = LOG_GATE("answers of an auth_url that could not be used");

/* A question, until it is answered: in the mailbox, then in the list of its request.  Without done:
 * a user whose answers are forgotten. */
struct open_question {
	struct mailbox_entry entry;
	struct open_question *next;
	struct app *app;
	char user_id[USER_ID_SIZE];
	app_auth_done *done;
	void *ctx;
	usec_t started; /* mono */
	usec_t asked;	/* wall */
	size_t n;
	bool known[APP_AUTH_CHANNELS_MAX], allowed[APP_AUTH_CHANNELS_MAX];
	char *channels[];
};

/* A request to an application, for all questions whose unknown channels are the same. */
struct app_request {
	struct app_auth *of;
	struct app *app;
	struct open_question *questions;
	struct strbuf key;
	bool is_outdated; /* its answer is not remembered */
};

/* An answer, followed by its key. */
struct remembered {
	usec_t until; /* mono */
	bool is_allowed;
	size_t n;
	char key[];
};

struct app_auth {
	struct conf_webhooks conf;
	struct sender *sender;
	struct mailbox mailbox;
	atomic_bool is_stopping;
	bool is_started;
	pthread_t thread;

	/* used by this thread only */
	struct map remembered; /* key -> struct remembered */
	struct map requests;   /* key -> struct app_request */
	unsigned long long n_outdated;
};

static void question_free(struct open_question *q)
{
	for (size_t i = 0; i < q->n; i++)
		free(q->channels[i]);
	app_unref(q->app);
	free(q);
}

/* Answers and frees it. */
static void question_answer(struct open_question *q, const char *failure)
{
	const struct app_auth_answer answer = { .failure = failure,
						.allowed = q->allowed,
						.asked = q->asked };

	for (size_t i = 0; i < q->n; i++)
		metric_add_at(METRIC_AUTHORIZE,
			      failure	      ? AUTHORIZATION_FAILED
			      : q->allowed[i] ? AUTHORIZED
					      : NOT_AUTHORIZED,
			      1);
	metric_observe(METRIC_AUTHORIZE_SECONDS, clock_mono() - q->started, 1);
	q->done(q->ctx, &answer);
	question_free(q);
}

/* Whose answer: a reload may change the address. */
static void app_auth_start_key(struct strbuf *key, const struct open_question *q)
{
	strbuf_reset(key);
	strbuf_addf(key, "%s\n%s\n%s\n", q->app->id, q->app->auth_url, q->user_id);
}

RUNS_ON(on_webhook)
static const struct remembered *app_auth_recall(const struct app_auth *a,
						const struct open_question *q, const char *channel)
{
	const struct remembered *r;
	struct strbuf key;

	strbuf_init(&key, 128);
	app_auth_start_key(&key, q);
	strbuf_add_str(&key, channel);
	r = map_get(&a->remembered, strbuf_view(&key));
	strbuf_release(&key);
	return r && clock_mono() < r->until ? r : NULL;
}

RUNS_ON(on_webhook) static void app_auth_forget_all(struct app_auth *a)
{
	struct remembered *r;
	size_t at = 0;

	while ((r = map_next(&a->remembered, &at)))
		free(r);
	map_release(&a->remembered);
	map_init(&a->remembered);
}

RUNS_ON(on_webhook)
static void app_auth_remember(struct app_auth *a, const struct open_question *q, size_t i,
			      usec_t until)
{
	struct remembered *r, *old;
	struct strbuf key;

	strbuf_init(&key, 128);
	app_auth_start_key(&key, q);
	strbuf_add_str(&key, q->channels[i]);
	if (a->remembered.used >= REMEMBERED_MAX)
		app_auth_forget_all(a);
	r = xmalloc(sizeof(*r) + key.len);
	*r = (struct remembered){ .until = until, .is_allowed = q->allowed[i], .n = key.len };
	memcpy(r->key, key.ptr, key.len);
	strbuf_release(&key);
	/* The key is part of the value: the old one leaves the map before it is freed. */
	old = map_del(&a->remembered, sv_n(r->key, r->n));
	map_put(&a->remembered, sv_n(r->key, r->n), r);
	free(old);
}

/* Whether the list of the answer has the channel. */
static bool app_auth_lists(struct str_view list, const char *channel)
{
	struct str_view item, name;
	bool is_there = false;
	char *room, *at;

	for (size_t next = 0; !is_there && json_next_element(list, &next, &item);) {
		room = at = xmalloc(item.len + 1);
		is_there = json_kind(item) == '"' && json_decode_string(item, &at, &name) &&
			   sv_eq_c(name, channel);
		free(room);
	}
	return is_there;
}

/* NULL, or what is wrong with the answer {"allowed": ["private-a"], "ttl": 60}. */
static const char *app_auth_read(struct str_view body, struct str_view *list, uint64_t *ttl_s)
{
	struct str_view answer, ttl;

	if (json_check(body, &answer) || json_kind(answer) != '{')
		return "the answer is not a JSON object";
	*list = json_member(answer, SV("allowed"));
	if (json_kind(*list) != '[')
		return "the answer has no list allowed";
	ttl = json_member(answer, SV("ttl"));
	*ttl_s = 0;
	if (ttl.len && !sv_to_u64(ttl, UINT64_MAX, ttl_s))
		return "ttl of the answer is not a whole number of seconds";
	if (*ttl_s > TTL_MAX_S)
		*ttl_s = TTL_MAX_S;
	return NULL;
}

static void app_request_free(struct app_request *one)
{
	app_unref(one->app);
	strbuf_release(&one->key);
	free(one);
}

static void on_app_answered(void *ctx, const struct sender_result *r)
{
	struct app_request *one = ctx;
	struct app_auth *a = one->of;
	struct str_view list = SV("");
	struct open_question *q, *next;
	const char *fault = r->error;
	usec_t until;
	uint64_t ttl_s = 0;

	ASSERT_ON(on_webhook);
	if (r->is_delivered)
		fault = app_auth_read(r->body, &list, &ttl_s);
	if (fault)
		log_gated(&failures, "app %s: auth_url: %s", one->app->id, fault);
	until = clock_mono() + ttl_s * USEC_PER_SEC;
	map_del(&a->requests, strbuf_view(&one->key));
	for (q = one->questions; q; q = next) {
		next = q->next;
		for (size_t i = 0; i < q->n && !fault; i++) {
			if (q->known[i])
				continue;
			q->allowed[i] = app_auth_lists(list, q->channels[i]);
			if (ttl_s && !one->is_outdated)
				app_auth_remember(a, q, i, until);
		}
		question_answer(q, !fault			  ? NULL
				   : atomic_load(&a->is_stopping) ? "stopping"
								  : "auth_url_failed");
	}
	app_request_free(one);
}

RUNS_ON(on_webhook) static size_t app_auth_count(const struct app_auth *a, const struct app *app)
{
	const struct app_request *one;
	size_t at = 0, n = 0;

	while ((one = map_next(&a->requests, &at)))
		n += strcmp(one->app->id, app->id) == 0;
	return n;
}

/* Sends the names in a list, which is a JSON list. */
RUNS_ON(on_webhook)
static void app_auth_send(struct app_auth *a, struct open_question *q, struct str_view list)
{
	struct app_request *one = xcalloc(1, sizeof(*one));
	struct sender_request r = { .url = q->app->auth_url,
				    .app = q->app,
				    .wants_body = true,
				    .done = on_app_answered,
				    .ctx = one };
	struct strbuf body;

	one->of = a;
	one->app = app_ref(q->app);
	one->questions = q;
	strbuf_init(&one->key, list.len + 128);
	app_auth_start_key(&one->key, q);
	strbuf_add_sv(&one->key, list);
	map_put(&a->requests, strbuf_view(&one->key), one);
	strbuf_init(&body, list.len + 128);
	strbuf_addf(&body, "{\"time_ms\":%" PRIu64 ",\"user_id\":",
		    (uint64_t)(clock_wall() / USEC_PER_MSEC));
	user_id_add_json(&body, q->user_id);
	strbuf_add_str(&body, ",\"channels\":");
	strbuf_add_sv(&body, list);
	strbuf_add_c(&body, '}');
	r.body = strbuf_view(&body);
	sender_send(a->sender, &r);
	strbuf_release(&body);
}

/* Answers of an earlier auth_url are not used anyway. */
RUNS_ON(on_webhook)
static void app_auth_forget_user(struct app_auth *a, const struct open_question *whose)
{
	struct remembered *r;
	struct app_request *one;
	struct strbuf start;
	size_t at = 0;

	strbuf_init(&start, 128);
	app_auth_start_key(&start, whose);
	while ((r = map_next(&a->remembered, &at)))
		if (sv_starts_with(sv_n(r->key, r->n), strbuf_view(&start)))
			r->until = 0;
	for (at = 0; (one = map_next(&a->requests, &at)) != NULL;) {
		if (one->is_outdated ||
		    !sv_starts_with(strbuf_view(&one->key), strbuf_view(&start)))
			continue;
		/* A later question must not share it. */
		map_del(&a->requests, strbuf_view(&one->key));
		strbuf_addf(&one->key, "\noutdated %llu", ++a->n_outdated);
		map_put(&a->requests, strbuf_view(&one->key), one);
		one->is_outdated = true;
		at = 0;
	}
	strbuf_release(&start);
}

/* Answers it from what is remembered, or adds it to a request. */
RUNS_ON(on_webhook) static void app_auth_take(struct app_auth *a, struct open_question *q)
{
	struct app_request *same;
	struct strbuf list, key;
	size_t n = 0;

	strbuf_init(&list, 64 * q->n);
	for (size_t i = 0; i < q->n; i++) {
		const struct remembered *r = app_auth_recall(a, q, q->channels[i]);

		q->known[i] = r;
		q->allowed[i] = r && r->is_allowed;
		if (r)
			continue;
		strbuf_add_c(&list, n++ ? ',' : '[');
		strbuf_add_json(&list, sv(q->channels[i]));
	}
	strbuf_add_c(&list, ']');
	strbuf_init(&key, list.len + 128);
	app_auth_start_key(&key, q);
	strbuf_add_sv(&key, strbuf_view(&list));
	same = map_get(&a->requests, strbuf_view(&key));
	if (!n) {
		question_answer(q, NULL);
	} else if (same) {
		q->next = same->questions;
		same->questions = q;
	} else if (a->requests.used >= REQUESTS_MAX || app_auth_count(a, q->app) >= OF_APP_MAX) {
		log_gated(&failures, "app %s: auth_url: %d requests wait for its answer",
			  q->app->id, OF_APP_MAX);
		question_answer(q, "busy");
	} else {
		app_auth_send(a, q, strbuf_view(&list));
	}
	strbuf_release(&key);
	strbuf_release(&list);
}

RUNS_ON(on_webhook)
static void app_auth_take_one(struct app_auth *a, struct open_question *q, bool is_stopping)
{
	if (!q->done) {
		app_auth_forget_user(a, q);
		question_free(q);
	} else if (is_stopping) {
		question_answer(q, "stopping");
	} else {
		app_auth_take(a, q);
	}
}

RUNS_ON(on_webhook) static void *app_auth_run(void *arg)
{
	struct app_auth *a = arg;
	struct mailbox_entry *e, *next;
	bool is_stopping;

	do {
		is_stopping = atomic_load(&a->is_stopping);
		for (e = mailbox_take(&a->mailbox); e; e = next) {
			next = e->next;
			app_auth_take_one(a, CONTAINER_OF(e, struct open_question, entry),
					  is_stopping);
		}
		if (!is_stopping)
			sender_wait(a->sender, IDLE_MS);
	} while (!is_stopping);
	sender_cancel(a->sender);
	app_auth_forget_all(a);
	return NULL;
}

void app_auth_check(struct app_auth *a, const struct app_auth_question *from)
{
	struct open_question *q = xcalloc(1, sizeof(*q) + from->n * sizeof(*q->channels));
	int rc;

	q->app = app_ref(from->app);
	str_copy(q->user_id, sizeof(q->user_id), sv(from->user_id));
	q->done = from->done;
	q->ctx = from->ctx;
	q->started = clock_mono();
	q->asked = clock_wall();
	q->n = from->n;
	for (size_t i = 0; i < q->n; i++)
		q->channels[i] = xstrdup(from->channels[i]);
	rc = mailbox_put(&a->mailbox, &q->entry);
	if (rc < 0)
		question_answer(q, rc == -EAGAIN ? "busy" : "stopping");
	else if (rc > 0)
		sender_wake(a->sender);
}

struct app_auth *app_auth_new(const struct conf *conf)
{
	struct app_auth *a = xcalloc(1, sizeof(*a));

	a->conf = conf->webhooks;
	a->conf.timeout_ms = conf->sync.auth_url_timeout_ms;
	a->sender = sender_new(&a->conf);
	if (!a->sender) {
		free(a);
		return NULL;
	}
	mailbox_init(&a->mailbox, QUESTIONS_MAX);
	map_init(&a->remembered);
	map_init(&a->requests);
	return a;
}

int app_auth_start(struct app_auth *a)
{
	int rc = thread_start(&a->thread, "app auth", &on_webhook, app_auth_run, a);

	a->is_started = rc == 0;
	return rc;
}

void app_auth_stop(struct app_auth *a)
{
	if (!a || !a->is_started)
		return;
	/* What is put before this is taken below, by the thread or here. */
	mailbox_close(&a->mailbox);
	atomic_store(&a->is_stopping, true);
	sender_wake(a->sender);
	pthread_join(a->thread, NULL);
	a->is_started = false;
}

void app_auth_free(struct app_auth *a)
{
	if (!a)
		return;
	map_release(&a->remembered);
	map_release(&a->requests);
	mailbox_release(&a->mailbox);
	sender_free(a->sender);
	free(a);
}

void app_auth_forget(struct app_auth *a, const struct app *app, struct str_view user_id)
{
	struct open_question *q = xcalloc(1, sizeof(*q));

	q->app = app_ref((struct app *)app);
	if (user_id_read(user_id, q->user_id) && mailbox_put_owed(&a->mailbox, &q->entry) >= 0)
		sender_wake(a->sender);
	else
		question_free(q);
}
