/* SPDX-License-Identifier: MIT */
/*
 * Rings: the applications are one, and each application has two of lanes with waiting jobs, those
 * that can wait for a lock and the others.  A ring begins with the member whose turn is next; after
 * a job was taken, it begins with the following one.  Lanes and applications exist while they have
 * a job.
 */
#include "base/mem.h"
#include "pg/turns.h"

struct turn_lane {
	struct {
		uint64_t app;
		struct user_key user;
		uint64_t locks; /* 0 or 1 */
	} key;
	struct turn_app *app;
	struct turn *head, *tail;
	unsigned n_sent;
	struct turn_lane *next, *prev; /* NULL: no job waits */
};

struct turn_app {
	uint64_t number;
	unsigned n_lanes;
	unsigned n_sent, n_locks; /* jobs on connections: all, and those that can wait for a lock */
	unsigned kind;		  /* whose ring is next */
	struct turn_lane *ring[2];
	unsigned n_ring[2];
	struct turn_app *next, *prev;
};

void turns_init(struct turns *t, unsigned connections)
{
	unsigned n = connections > 1 ? connections : 2;

	*t = (struct turns){ .most_of_user = n / 4 ? n / 4 : 1,
			     .most_of_app = n - 1,
			     .most_locks_of_app = n / 2,
			     .most_locks = n - 1 };
	map_init(&t->apps);
	map_init(&t->lanes);
}

void turns_release(struct turns *t)
{
	map_release(&t->apps);
	map_release(&t->lanes);
}

/* ---- rings --------------------------------------------------------------------- */

static struct str_view turn_lane_key(const struct turn_lane *lane)
{
	return sv_n((const char *)&lane->key, sizeof(lane->key));
}

static struct str_view turn_app_key(const struct turn_app *app)
{
	return sv_n((const char *)&app->number, sizeof(app->number));
}

/* The last member: the one before the first. */
static void turn_lane_enter(struct turn_lane *lane)
{
	struct turn_lane **ring = &lane->app->ring[lane->key.locks], *first = *ring;

	lane->next = first ? first : lane;
	lane->prev = first ? first->prev : lane;
	lane->next->prev = lane->prev->next = lane;
	*ring = first ? first : lane;
	lane->app->n_ring[lane->key.locks]++;
}

static void turn_lane_leave(struct turn_lane *lane)
{
	struct turn_lane **ring = &lane->app->ring[lane->key.locks];

	if (*ring == lane)
		*ring = lane->next == lane ? NULL : lane->next;
	lane->next->prev = lane->prev;
	lane->prev->next = lane->next;
	lane->next = lane->prev = NULL;
	lane->app->n_ring[lane->key.locks]--;
}

static struct turn_app *turns_app(struct turns *t, uint64_t number)
{
	struct turn_app *app = map_get(&t->apps, sv_n((const char *)&number, sizeof(number)));

	if (app)
		return app;
	app = xcalloc(1, sizeof(*app));
	app->number = number;
	map_put(&t->apps, turn_app_key(app), app);
	app->next = t->ring ? t->ring : app;
	app->prev = t->ring ? t->ring->prev : app;
	app->next->prev = app->prev->next = app;
	if (!t->ring)
		t->ring = app;
	return app;
}

static void turns_remove_app(struct turns *t, struct turn_app *app)
{
	if (t->ring == app)
		t->ring = app->next == app ? NULL : app->next;
	app->next->prev = app->prev;
	app->prev->next = app->next;
	map_del(&t->apps, turn_app_key(app));
	free(app);
}

static struct turn_lane *turns_lane(struct turns *t, struct pg_owner owner, bool locks)
{
	struct turn_lane wanted = { .key = { owner.app, owner.user, locks } };
	struct turn_lane *lane = map_get(&t->lanes, turn_lane_key(&wanted));

	if (lane)
		return lane;
	lane = xcalloc(1, sizeof(*lane));
	*lane = wanted;
	lane->app = turns_app(t, owner.app);
	lane->app->n_lanes++;
	map_put(&t->lanes, turn_lane_key(lane), lane);
	return lane;
}

static void turns_forget_lane(struct turns *t, struct turn_lane *lane)
{
	struct turn_app *app = lane->app;

	if (lane->head || lane->n_sent)
		return;
	map_del(&t->lanes, turn_lane_key(lane));
	free(lane);
	if (!--app->n_lanes)
		turns_remove_app(t, app);
}

/* ---- jobs ---------------------------------------------------------------------- */

static void turn_lane_put(struct turns *t, struct turn_lane *lane, struct turn *job, bool first)
{
	job->lane = lane;
	job->next = first ? lane->head : NULL;
	if (!lane->head)
		turn_lane_enter(lane);
	if (!lane->head || !first) {
		if (lane->head)
			lane->tail->next = job;
		lane->tail = job;
	}
	if (!lane->head || first)
		lane->head = job;
	t->n_waiting++;
}

static struct turn *turn_lane_pop(struct turns *t, struct turn_lane *lane)
{
	struct turn *job = lane->head;

	lane->head = job->next;
	job->next = NULL;
	if (!lane->head)
		turn_lane_leave(lane);
	t->n_waiting--;
	return job;
}

void turns_put(struct turns *t, struct turn *job, struct pg_owner owner, bool locks)
{
	turn_lane_put(t, turns_lane(t, owner, locks), job, false);
}

/* A lane of the daemon has no limit. */
static bool turn_lane_is_full(const struct turns *t, const struct turn_lane *lane)
{
	return lane->key.app && user_key_is_set(lane->key.user) && lane->n_sent >= t->most_of_user;
}

static bool turn_app_is_full(const struct turns *t, const struct turn_app *app, unsigned kind)
{
	if (!app->number)
		return false;
	return app->n_sent >= t->most_of_app ||
	       (kind && (app->n_locks >= t->most_locks_of_app || t->n_locks >= t->most_locks));
}

/* The next lane of this kind that is not at its limit, or NULL; its ring begins after it. */
static struct turn_lane *turn_app_next_lane(const struct turns *t, struct turn_app *app,
					    unsigned kind)
{
	for (unsigned i = app->n_ring[kind]; i > 0; i--) {
		struct turn_lane *lane = app->ring[kind];

		app->ring[kind] = lane->next;
		if (!turn_lane_is_full(t, lane))
			return lane;
	}
	return NULL;
}

static void turns_note_sent(struct turns *t, struct turn_lane *lane, int change)
{
	lane->n_sent += (unsigned)change;
	lane->app->n_sent += (unsigned)change;
	if (!lane->key.locks || !lane->app->number)
		return;
	lane->app->n_locks += (unsigned)change;
	t->n_locks += (unsigned)change;
}

struct turn *turns_take(struct turns *t)
{
	size_t n_apps = t->apps.used;

	for (size_t i = 0; i < n_apps; i++) {
		struct turn_app *app = t->ring;

		t->ring = app->next;
		for (unsigned k = 0; k < 2; k++) {
			unsigned kind = (app->kind + k) % 2;
			struct turn_lane *lane = turn_app_is_full(t, app, kind)
							 ? NULL
							 : turn_app_next_lane(t, app, kind);

			if (!lane)
				continue;
			app->kind = !kind;
			turns_note_sent(t, lane, 1);
			return turn_lane_pop(t, lane);
		}
	}
	return NULL;
}

void turns_put_back(struct turns *t, struct turn *job, bool first)
{
	turns_note_sent(t, job->lane, -1);
	turn_lane_put(t, job->lane, job, first);
}

void turns_end(struct turns *t, struct turn *job)
{
	turns_note_sent(t, job->lane, -1);
	turns_forget_lane(t, job->lane);
}

static void turn_lane_expire(struct turns *t, struct turn_lane *lane,
			     bool (*is_due)(const struct turn *job, usec_t now), usec_t now,
			     struct turn **due)
{
	while (lane->head && (!is_due || is_due(lane->head, now))) {
		struct turn *job = turn_lane_pop(t, lane);

		job->next = *due;
		*due = job;
	}
	turns_forget_lane(t, lane);
}

void turns_expire(struct turns *t, bool (*is_due)(const struct turn *job, usec_t now),
		  void (*end)(struct turn *job, int rc), int rc)
{
	usec_t now = clock_mono();
	struct turn *due = NULL;

	for (size_t n = t->apps.used; n > 0; n--) {
		struct turn_app *app = t->ring;
		unsigned n_lanes[2] = { app->n_ring[0], app->n_ring[1] };

		t->ring = app->next;
		app->n_lanes++; /* so that it outlives its lanes */
		for (unsigned kind = 0; kind < 2; kind++)
			for (unsigned i = n_lanes[kind]; i > 0; i--) {
				struct turn_lane *lane = app->ring[kind];

				app->ring[kind] = lane->next;
				turn_lane_expire(t, lane, is_due, now, &due);
			}
		if (!--app->n_lanes)
			turns_remove_app(t, app);
	}
	while (due) {
		struct turn *job = due;

		due = job->next;
		end(job, rc);
	}
}
