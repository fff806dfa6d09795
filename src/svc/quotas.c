/* SPDX-License-Identifier: MIT */
/*
 * The users are in a map under one mutex, which is a leaf.  A user whose rates are whole again is
 * removed when its last call ends, or by a walk over all users each time that their number has
 * doubled: so the map is bounded by twice the open calls and the users that a rate still counts.
 */
#include <pthread.h>
#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/limit.h"
#include "svc/quotas.h"

#define WALK_MIN 1024
#define DAY_US	 (24 * 3600 * USEC_PER_SEC)
#define DAY_UNIT 64 /* bytes: the product with DAY_US fits 64 bits */

struct quota_user {
	struct {
		uint64_t app; /* its runtime's number */
		struct user_key id;
	} key;
	unsigned n_open;
	uint64_t requests, bytes, day; /* core/limit.h; day: units of DAY_UNIT bytes */
};

/* For clang: this thread holds the lock. */
static struct TSA(capability("mutex")) quotas_held {
	char unused;
} quotas_held UNUSED;

struct quotas {
	const struct conf_sync *conf;
	pthread_mutex_t lock;
	struct map users OWNED_BY(quotas_held);
	/* the number of users at which the next walk begins */
	size_t walk_at OWNED_BY(quotas_held);
};

static void quotas_lock(struct quotas *q) TSA(acquire_capability(quotas_held)) NO_TSA
{
	pthread_mutex_lock(&q->lock);
}

static void quotas_unlock(struct quotas *q) TSA(release_capability(quotas_held)) NO_TSA
{
	pthread_mutex_unlock(&q->lock);
}

static struct str_view quota_user_key(const struct quota_user *u)
{
	return sv_n((const char *)&u->key, sizeof(u->key));
}

static bool quota_user_is_idle(const struct quota_user *u, usec_t now)
{
	return !u->n_open && u->requests <= (uint64_t)now && u->bytes <= (uint64_t)now &&
	       u->day <= (uint64_t)now;
}

/* Removes all users that are idle. */
static void quotas_walk_locked(struct quotas *q, usec_t now) NEEDS_LOCK(quotas_held)
{
	struct map kept;
	struct quota_user *u;
	size_t at = 0;

	map_init(&kept);
	while ((u = map_next(&q->users, &at))) {
		if (quota_user_is_idle(u, now))
			free(u);
		else
			map_put(&kept, quota_user_key(u), u);
	}
	map_release(&q->users);
	q->users = kept;
	q->walk_at = kept.used * 2 > WALK_MIN ? kept.used * 2 : WALK_MIN;
}

static struct quota_user *quotas_user_locked(struct quotas *q, const struct app *app,
					     struct user_key user, usec_t now)
	NEEDS_LOCK(quotas_held)
{
	struct quota_user wanted = { .key = { app->runtime->number, user } };
	struct quota_user *u = map_get(&q->users, quota_user_key(&wanted));

	if (u)
		return u;
	if (q->users.used >= q->walk_at)
		quotas_walk_locked(q, now);
	u = xcalloc(1, sizeof(*u));
	*u = wanted;
	map_put(&q->users, quota_user_key(u), u);
	return u;
}

/* A request that is larger than the rate takes all of it. */
static bool quota_take(uint64_t *word, unsigned rate, usec_t window, size_t n, usec_t now)
{
	return !rate || limit_take(word, rate, window, n < rate ? (unsigned)n : rate, now);
}

static struct quota_refusal quotas_take_bytes_locked(struct quota_user *u, const struct app *app,
						     size_t bytes, usec_t now)
	NEEDS_LOCK(quotas_held)
{
	const struct app_limits *l = &app->limits;
	unsigned second = l->max_user_bytes_per_second, day = l->max_user_bytes_per_day;
	unsigned units = day ? day / DAY_UNIT + 1 : 0;

	if (!bytes)
		return (struct quota_refusal){ NULL, 0 };
	if (!quota_take(&u->bytes, second, USEC_PER_SEC, bytes, now))
		return (struct quota_refusal){ "max_user_bytes_per_second", second };
	if (!quota_take(&u->day, units, DAY_US, bytes / DAY_UNIT + 1, now))
		return (struct quota_refusal){ "max_user_bytes_per_day", day };
	return (struct quota_refusal){ NULL, 0 };
}

static struct quota_refusal quotas_take_requests_locked(struct quota_user *u, const struct app *app,
							unsigned n, usec_t now)
	NEEDS_LOCK(quotas_held)
{
	const struct app_limits *l = &app->limits;
	unsigned all = l->max_all_users_requests_per_second;

	if (!quota_take(&u->requests, l->max_user_requests_per_second, USEC_PER_SEC, n, now))
		return (struct quota_refusal){ "max_user_requests_per_second",
					       l->max_user_requests_per_second };
	if (all && !limit_take_shared(&app->runtime->users_bucket, all, USEC_PER_SEC,
				      n < all ? n : all, now))
		return (struct quota_refusal){ "max_all_users_requests_per_second", all };
	return (struct quota_refusal){ NULL, 0 };
}

static struct quota_refusal quotas_begin_user_locked(struct quotas *q, const struct app *app,
						     struct user_key user, size_t bytes)
	NEEDS_LOCK(quotas_held)
{
	unsigned max_open = q->conf->max_user_calls;
	usec_t now = clock_mono();
	struct quota_user *u = quotas_user_locked(q, app, user, now);
	struct quota_refusal refusal = { NULL, 0 };

	if (max_open && u->n_open >= max_open)
		return (struct quota_refusal){ "sync.max_user_calls", max_open };
	refusal = quotas_take_requests_locked(u, app, 1, now);
	if (!refusal.option)
		refusal = quotas_take_bytes_locked(u, app, bytes, now);
	if (!refusal.option)
		u->n_open++;
	return refusal;
}

struct quota_refusal quotas_begin(struct quotas *q, const struct app *app, struct user_key user,
				  size_t bytes)
{
	unsigned max = q->conf->max_app_calls;
	struct quota_refusal refusal = { NULL, 0 };

	if (atomic_fetch_add(&app->runtime->sync_calls, 1) >= max && max)
		refusal = (struct quota_refusal){ "sync.max_app_calls", max };
	if (!refusal.option && user_key_is_set(user)) {
		quotas_lock(q);
		refusal = quotas_begin_user_locked(q, app, user, bytes);
		quotas_unlock(q);
	}
	if (refusal.option)
		atomic_fetch_sub(&app->runtime->sync_calls, 1);
	return refusal;
}

void quotas_end(struct quotas *q, const struct app *app, struct user_key user)
{
	struct quota_user wanted = { .key = { app->runtime->number, user } }, *u;

	atomic_fetch_sub(&app->runtime->sync_calls, 1);
	if (!user_key_is_set(user))
		return;
	quotas_lock(q);
	u = map_get(&q->users, quota_user_key(&wanted));
	u->n_open--;
	if (quota_user_is_idle(u, clock_mono())) {
		map_del(&q->users, quota_user_key(u));
		free(u);
	}
	quotas_unlock(q);
}

struct quota_refusal quotas_take(struct quotas *q, const struct app *app, struct user_key user,
				 unsigned n)
{
	usec_t now = clock_mono();
	struct quota_refusal refusal;

	quotas_lock(q);
	refusal = quotas_take_requests_locked(quotas_user_locked(q, app, user, now), app, n, now);
	quotas_unlock(q);
	return refusal;
}

struct quotas *quotas_new(const struct conf_sync *conf) NO_TSA /* before other threads have it */
{
	struct quotas *q = xcalloc(1, sizeof(*q));

	q->conf = conf;
	q->walk_at = WALK_MIN;
	pthread_mutex_init(&q->lock, NULL);
	map_init(&q->users);
	return q;
}

void quotas_free(struct quotas *q)
{
	struct quota_user *u;
	size_t at = 0;

	if (!q)
		return;
	while ((u = map_next(&q->users, &at)))
		free(u);
	map_release(&q->users);
	pthread_mutex_destroy(&q->lock);
	free(q);
}
