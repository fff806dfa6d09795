/* SPDX-License-Identifier: MIT */
/*
 * Which subscriptions share a grant, and which grants are to be checked.
 *
 * One mutex; no other lock is taken under it.  It is held for one lookup, or for the grants of one
 * user.  A change of all is O(1): the lists settled and failed are appended to due.
 *
 * Checks run on the authorizer's connections, at most CHECKS_OPEN at a time, fewer than the default
 * number of connections.  Each answer begins the next check.  A check that needs a predicate waits
 * in a second line, in which applications take turns, and which has as many places: so predicates
 * that are slow delay neither checks without one nor those of other applications.
 *
 * Any role can notify of changes, so there is a limit: a round of all begins ROUND_US after the one
 * before, and because of changes of its user a grant is checked once between two ticks at most.
 * What a changed user has goes first, but every FAIR_TURNS-th check, also of those that wait for
 * their predicates, is one of the others.  A grant that waits keeps its position, however often its
 * user changes: its verdict is that of the time when it is taken.
 */
#include <pthread.h>
#include "base/backoff.h"
#include "base/log_gate.h"
#include "base/map.h"
#include "base/mem.h"
#include "svc/grants.h"

#define CHECKS_OPEN  2
#define PAUSE_MIN_MS 5000
#define PAUSE_MAX_MS 300000
#define ROUND_US     USEC_PER_SEC /* rounds begin no faster */
#define FAIR_TURNS   4

/* A circular list: its head is not part of a grant. */
struct grant_link {
	struct grant_link *prev, *next;
};

/* One block: the struct, followed by its texts. */
struct grant {
	struct grant_link link; /* in one of the lists; linked to itself while checked */
	struct grants *all;
	uint64_t id; /* its bytes are the key in by_id */
	struct holder *holder;
	struct grant *prev, *next; /* of the holder */
	struct app *app;	   /* counted */
	const char *channel;
	const char *caller;  /* JSON, as struct authorize_question has it; after the channel */
	struct str_view key; /* channel, NUL, caller */
	unsigned n;	     /* subscriptions */
	bool is_checking;    /* a check is in progress: not freed until it ends */
	bool is_due;	     /* while it is checked: again after that */
	bool evaluates_predicates;    /* while it is checked: with its predicates */
	bool is_first;		      /* waits, or is checked, because of a changed user */
	struct waiting_app *waits_in; /* waits in a list of it; or NULL */
	uint64_t round;		      /* when the check began; an earlier one, or 0: it is in due */
	uint64_t tick;		      /* likewise */
};

/* An application of which grants wait for their predicates. */
struct waiting_app {
	struct grant_link link;	 /* in the ring; the next one first */
	struct grant_link first; /* grants of changed users */
	struct grant_link due;	 /* other grants */
	uint64_t number;	 /* of its runtime; its bytes are the key */
	unsigned n_taken;
};

/* A user with grants. */
struct holder {
	struct str_view key; /* app's id, NUL, user's id; follows the struct */
	char user_id[USER_ID_SIZE];
	struct user_key user;
	struct grant *grants;
	struct map by_key; /* the same grants, by their key */
};

static struct log_gate unchecked = LOG_GATE("channel rules that could not be evaluated again");

/* For clang: this thread holds the lock. */
static struct TSA(capability("mutex")) grants_held {
	char unused;
} grants_held UNUSED;

struct grants {
	struct authorizer *authorizer;
	struct directory *directory;
	pthread_mutex_t lock;
	struct map by_id OWNED_BY(grants_held);	  /* struct grant */
	struct map holders OWNED_BY(grants_held); /* struct holder, by its key */
	uint64_t last_id OWNED_BY(grants_held);
	/* of changed users; changed: those that were checked since the last tick wait for the next
	 */
	struct grant_link changed OWNED_BY(grants_held), first OWNED_BY(grants_held);
	struct grant_link due OWNED_BY(grants_held), settled OWNED_BY(grants_held),
		failed OWNED_BY(grants_held);	      /* kept without a verdict */
	unsigned n_taken OWNED_BY(grants_held);	      /* of first and due */
	uint64_t tick OWNED_BY(grants_held);	      /* counts them */
	uint64_t round OWNED_BY(grants_held);	      /* checks of all grants */
	bool is_round_due OWNED_BY(grants_held);      /* a change concerns all */
	usec_t next_round OWNED_BY(grants_held);      /* mono; not before */
	unsigned n_open OWNED_BY(grants_held);	      /* without predicates */
	unsigned n_evaluating OWNED_BY(grants_held);  /* with them */
	struct grant_link ring OWNED_BY(grants_held); /* struct waiting_app */
	struct map waiting OWNED_BY(grants_held);     /* the same, by their key */
	bool is_pumping OWNED_BY(grants_held), is_stopped OWNED_BY(grants_held);
	usec_t retry_at OWNED_BY(grants_held); /* mono; 0: none failed */
	struct backoff backoff OWNED_BY(grants_held);
};

static void grants_lock(struct grants *g) TSA(acquire_capability(grants_held)) NO_TSA
{
	pthread_mutex_lock(&g->lock);
}

static void grants_unlock(struct grants *g) TSA(release_capability(grants_held)) NO_TSA
{
	pthread_mutex_unlock(&g->lock);
}

/* ---- lists -------------------------------------------------------------------- */

static void link_init(struct grant_link *l)
{
	l->prev = l->next = l;
}

static void link_remove(struct grant_link *l)
{
	l->prev->next = l->next;
	l->next->prev = l->prev;
	link_init(l);
}

/* Moves the link from its list to the end of list. */
static void link_move(struct grant_link *l, struct grant_link *list)
{
	link_remove(l);
	l->prev = list->prev;
	l->next = list;
	l->prev->next = l;
	list->prev = l;
}

/* Appends all links of from to list. */
static void link_move_all(struct grant_link *from, struct grant_link *list)
{
	if (from->next == from)
		return;
	from->next->prev = list->prev;
	list->prev->next = from->next;
	from->prev->next = list;
	list->prev = from->prev;
	link_init(from);
}

/* ---- grants ------------------------------------------------------------------- */

static struct str_view grant_key(const uint64_t *id)
{
	return sv_n((const char *)id, sizeof(*id));
}

/* The app's id, NUL, and the user's id; the caller releases it. */
static struct strbuf holder_key(const char *app, const char *user_id)
{
	struct strbuf key;

	strbuf_init(&key, 64);
	strbuf_add(&key, app, strlen(app) + 1);
	strbuf_add_str(&key, user_id);
	return key;
}

static struct holder *holder_get_locked(struct grants *g, const char *app, const char *user_id)
	NEEDS_LOCK(grants_held)
{
	struct strbuf key = holder_key(app, user_id);
	struct holder *h = map_get(&g->holders, strbuf_view(&key));

	strbuf_release(&key);
	return h;
}

static struct holder *holder_new_locked(struct grants *g, const char *app, const char *user_id)
	NEEDS_LOCK(grants_held)
{
	struct strbuf key = holder_key(app, user_id);
	struct holder *h = xmalloc(sizeof(*h) + key.len);

	memcpy(h + 1, key.ptr, key.len);
	*h = (struct holder){ .key = sv_n((char *)(h + 1), key.len), .user = user_key_of(user_id) };
	str_copy(h->user_id, sizeof(h->user_id), sv(user_id));
	map_init(&h->by_key);
	map_put(&g->holders, h->key, h);
	strbuf_release(&key);
	return h;
}

static struct grant *grant_find(const struct holder *h, struct str_view channel,
				struct str_view caller)
{
	struct strbuf key;
	struct grant *one;

	strbuf_init(&key, channel.len + caller.len + 1);
	strbuf_add_sv(&key, channel);
	strbuf_add_c(&key, '\0');
	strbuf_add_sv(&key, caller);
	one = map_get(&h->by_key, strbuf_view(&key));
	strbuf_release(&key);
	return one;
}

static struct grant *grant_new_locked(struct grants *g, struct holder *h, struct app *app,
				      struct str_view channel, struct str_view caller)
	NEEDS_LOCK(grants_held)
{
	struct grant *one = xcalloc(1, sizeof(*one) + channel.len + caller.len + 2);
	char *at = (char *)(one + 1);

	memcpy(at, channel.ptr, channel.len);
	one->channel = at;
	at += channel.len + 1;
	memcpy(at, caller.ptr, caller.len);
	one->caller = at;
	one->key = sv_n(one->channel, channel.len + 1 + caller.len);
	one->all = g;
	one->app = app_ref(app);
	one->id = ++g->last_id;
	one->round = g->round;
	map_put(&g->by_id, grant_key(&one->id), one);
	one->holder = h;
	one->next = h->grants;
	if (one->next)
		one->next->prev = one;
	h->grants = one;
	map_put(&h->by_key, one->key, one);
	link_init(&one->link);
	link_move(&one->link, &g->settled);
	return one;
}

static void grant_free_locked(struct grants *g, struct grant *one) NEEDS_LOCK(grants_held)
{
	struct holder *h = one->holder;

	map_del(&g->by_id, grant_key(&one->id));
	map_del(&h->by_key, one->key);
	link_remove(&one->link);
	if (one->next)
		one->next->prev = one->prev;
	if (one->prev)
		one->prev->next = one->next;
	else
		h->grants = one->next;
	if (!h->grants) {
		map_del(&g->holders, h->key);
		map_release(&h->by_key);
		free(h);
	}
	app_unref(one->app);
	free(one);
}

static void grant_set_due_locked(struct grants *g, struct grant *one) NEEDS_LOCK(grants_held)
{
	if (one->is_checking) {
		one->is_due = true;
	} else if (!one->is_first && !one->waits_in && one->round == g->round) {
		link_move(&one->link, &g->due);
		one->round = 0;
	}
}

/* Of a user that changed. */
static void grant_set_changed_locked(struct grants *g, struct grant *one) NEEDS_LOCK(grants_held)
{
	if (one->is_checking)
		one->is_due = true;
	else if (!one->is_first && one->waits_in)
		link_move(&one->link, &one->waits_in->first);
	else if (!one->is_first)
		link_move(&one->link, one->tick == g->tick ? &g->changed : &g->first);
	one->is_first = true;
}

uint64_t grants_join(struct grants *g, struct app *app, struct str_view channel,
		     const struct grant_mark *mark)
{
	struct strbuf caller;
	struct holder *h;
	struct grant *one;
	uint64_t id;

	strbuf_init(&caller, 64 + mark->roles.len);
	strbuf_add_str(&caller, "{\"id\":");
	user_id_add_json(&caller, mark->user_id);
	strbuf_add_str(&caller, ",\"roles\":");
	strbuf_add_sv(&caller, mark->roles);
	strbuf_add_c(&caller, '}');
	grants_lock(g);
	h = holder_get_locked(g, app->id, mark->user_id);
	if (!h)
		h = holder_new_locked(g, app->id, mark->user_id);
	one = grant_find(h, channel, strbuf_view(&caller));
	if (!one)
		one = grant_new_locked(g, h, app, channel, strbuf_view(&caller));
	one->n++;
	/* A change that is not in this generation yet finds the grant when it gets the lock. */
	if (mark->as_of != authorize_generation(g->authorizer))
		grant_set_due_locked(g, one);
	id = one->id;
	grants_unlock(g);
	strbuf_release(&caller);
	return id;
}

void grants_leave(struct grants *g, uint64_t grant)
{
	struct grant *one;

	grants_lock(g);
	one = map_get(&g->by_id, grant_key(&grant));
	if (one && --one->n == 0 && !one->is_checking)
		grant_free_locked(g, one);
	grants_unlock(g);
}

void grants_on_change(void *ctx, const char *app, const char *user_id)
{
	struct grants *g = ctx;
	const struct holder *h;

	grants_lock(g);
	if (app) {
		h = holder_get_locked(g, app, user_id);
		for (struct grant *one = h ? h->grants : NULL; one; one = one->next)
			grant_set_changed_locked(g, one);
	} else {
		g->is_round_due = true;
	}
	grants_unlock(g);
}

/* All are checked again, also those whose check is in progress. */
static void grants_begin_round_locked(struct grants *g, usec_t now) NEEDS_LOCK(grants_held)
{
	g->is_round_due = false;
	g->next_round = now + ROUND_US;
	g->round++;
	link_move_all(&g->settled, &g->due);
	link_move_all(&g->failed, &g->due);
	backoff_reset(&g->backoff);
	g->retry_at = 0;
}

/* ---- checks ------------------------------------------------------------------- */

static void grants_pump(struct grants *g);

/* A check found no verdict. */
static void grant_set_failed_locked(struct grants *g, struct grant *one) NEEDS_LOCK(grants_held)
{
	link_move(&one->link, &g->failed);
	if (!g->retry_at)
		g->retry_at = clock_mono() + backoff_next(&g->backoff) * USEC_PER_MSEC;
}

/* The second line: after the others of its application. */
static void grant_set_waiting_locked(struct grants *g, struct grant *one) NEEDS_LOCK(grants_held)
{
	uint64_t number = one->app->runtime->number;
	struct waiting_app *a = map_get(&g->waiting, grant_key(&number));

	if (!a) {
		a = xcalloc(1, sizeof(*a));
		a->number = number;
		link_init(&a->link);
		link_init(&a->first);
		link_init(&a->due);
		map_put(&g->waiting, grant_key(&a->number), a);
		link_move(&a->link, &g->ring);
	}
	link_move(&one->link, one->is_first ? &a->first : &a->due);
	one->waits_in = a;
}

static void waiting_app_free_locked(struct grants *g, struct waiting_app *a) NEEDS_LOCK(grants_held)
{
	link_remove(&a->link);
	map_del(&g->waiting, grant_key(&a->number));
	free(a);
}

static void grant_log_unchecked(const struct grant *one, const struct authorize_answer *a)
{
	log_gated(&unchecked,
		  "app %s: user %s keeps %s: whether a channel rule still allows it is not "
		  "known (%s)",
		  one->app->id, one->holder->user_id, one->channel,
		  !a->failure	       ? "its predicate failed"
		  : a->is_in_predicate ? "its predicate did not answer in time"
				       : "the database did not answer");
}

/* Its check has ended with a verdict, or failed. */
static void grant_set_checked_locked(struct grants *g, struct grant *one, bool is_failed)
	NEEDS_LOCK(grants_held)
{
	one->is_first = false;
	if (one->is_due)
		grant_set_changed_locked(g, one);
	else if (one->round != g->round)
		link_move(&one->link, &g->due);
	else if (is_failed)
		grant_set_failed_locked(g, one);
	else
		link_move(&one->link, &g->settled);
}

static void on_grant_verdict(void *ctx, const struct authorize_answer *a)
{
	struct grant *one = ctx;
	struct grants *g = one->all;
	bool is_failed = a->failure || a->is_uncertain;

	if (is_failed)
		grant_log_unchecked(one, a);
	else if (!a->is_left && !a->is_allowed)
		directory_end_grant(g->directory, one->id);
	grants_lock(g);
	one->is_checking = false;
	*(one->evaluates_predicates ? &g->n_evaluating : &g->n_open) -= 1;
	if (!one->n)
		grant_free_locked(g, one);
	else if (a->is_left) /* what changed meanwhile counts when it is checked again */
		grant_set_waiting_locked(g, one);
	else
		grant_set_checked_locked(g, one, is_failed);
	grants_unlock(g);
	grants_pump(g);
}

static struct grant *grant_take_locked(struct grants *g, struct grant_link *link)
	NEEDS_LOCK(grants_held)
{
	struct grant *one = CONTAINER_OF(link, struct grant, link);

	link_remove(link);
	one->is_checking = true;
	one->is_due = false;
	one->waits_in = NULL;
	one->round = g->round;
	one->tick = g->tick;
	return one;
}

/* The first that is due; NULL: there is none, or enough are open. */
static struct grant *grants_next_due_locked(struct grants *g) NEEDS_LOCK(grants_held)
{
	struct grant_link *list = g->n_taken % FAIR_TURNS ? &g->first : &g->due;
	struct grant *one;

	if (g->n_open == CHECKS_OPEN)
		return NULL;
	if (list->next == list)
		list = list == &g->due ? &g->first : &g->due;
	if (list->next == list)
		return NULL;
	one = grant_take_locked(g, list->next);
	if (list == &g->due)
		one->is_first = false;
	one->evaluates_predicates = false;
	g->n_taken++;
	g->n_open++;
	return one;
}

/* The same of those that wait for their predicates. */
static struct grant *grants_next_waiting_locked(struct grants *g) NEEDS_LOCK(grants_held)
{
	while (g->n_evaluating < CHECKS_OPEN && g->ring.next != &g->ring) {
		struct waiting_app *a = CONTAINER_OF(g->ring.next, struct waiting_app, link);
		struct grant_link *list = a->n_taken % FAIR_TURNS ? &a->first : &a->due;
		struct grant *one;

		if (list->next == list)
			list = list == &a->due ? &a->first : &a->due;
		if (list->next == list) {
			waiting_app_free_locked(g, a);
			continue;
		}
		one = grant_take_locked(g, list->next);
		one->evaluates_predicates = true;
		a->n_taken++;
		g->n_evaluating++;
		link_move(&a->link, &g->ring);
		return one;
	}
	return NULL;
}

static struct grant *grants_next_locked(struct grants *g) NEEDS_LOCK(grants_held)
{
	struct grant *one;

	if (g->is_stopped)
		return NULL;
	one = grants_next_due_locked(g);
	return one ? one : grants_next_waiting_locked(g);
}

/*
 * Begins checks.  A verdict may come before authorize_check() returns, and calls this again: only
 * one call loops, so that the stack does not grow.
 */
static void grants_pump(struct grants *g)
{
	struct grant *one;

	grants_lock(g);
	if (!g->is_pumping) {
		g->is_pumping = true;
		while ((one = grants_next_locked(g))) {
			const struct authorize_question q = { one->app, one->caller, one->channel,
							      one->holder->user,
							      !one->evaluates_predicates };

			grants_unlock(g);
			authorize_check(g->authorizer, &q, on_grant_verdict, one);
			grants_lock(g);
		}
		g->is_pumping = false;
	}
	grants_unlock(g);
}

void grants_tick(struct grants *g, usec_t now)
{
	grants_lock(g);
	if (g->is_round_due && now >= g->next_round)
		grants_begin_round_locked(g, now);
	g->tick++;
	link_move_all(&g->changed, &g->first);
	if (g->retry_at && now >= g->retry_at) {
		g->retry_at = 0;
		if (g->failed.next == &g->failed)
			backoff_reset(&g->backoff);
		link_move_all(&g->failed, &g->due);
	}
	grants_unlock(g);
	grants_pump(g);
}

/* ---- the outside -------------------------------------------------------------- */

struct grants *grants_new(void)
{
	struct grants *g = xcalloc(1, sizeof(*g));

	pthread_mutex_init(&g->lock, NULL);
	grants_lock(g);
	map_init(&g->by_id);
	map_init(&g->holders);
	map_init(&g->waiting);
	link_init(&g->ring);
	g->tick = 1;
	g->round = 1;
	link_init(&g->changed);
	link_init(&g->first);
	link_init(&g->due);
	link_init(&g->settled);
	link_init(&g->failed);
	backoff_init(&g->backoff, PAUSE_MIN_MS, PAUSE_MAX_MS);
	grants_unlock(g);
	return g;
}

void grants_start(struct grants *g, struct authorizer *a, struct directory *d)
{
	g->authorizer = a;
	g->directory = d;
}

void grants_stop(struct grants *g)
{
	grants_lock(g);
	g->is_stopped = true;
	grants_unlock(g);
}

void grants_free(struct grants *g)
{
	if (!g)
		return;
	grants_lock(g);
	while (g->ring.next != &g->ring)
		waiting_app_free_locked(g, CONTAINER_OF(g->ring.next, struct waiting_app, link));
	map_release(&g->by_id);
	map_release(&g->holders);
	map_release(&g->waiting);
	grants_unlock(g);
	pthread_mutex_destroy(&g->lock);
	free(g);
}
