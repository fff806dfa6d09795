/* SPDX-License-Identifier: MIT */
/*
 * Publishers with a publish that waits are in a ring of their application, and these applications
 * in a ring; the next one of each ring is its first.  A pass goes round both until a round admits
 * nothing.  It tries only the first publish of each publisher, and none that needs a worker that
 * this pass found to be behind, so a pass that admits nothing costs one comparison per publisher.
 *
 * One thread, but for the counters, which are atomic, and the worker's call admission_on_load().
 */
#include <errno.h>
#include <limits.h>
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/wake.h"
#include "svc/admission.h"

struct admission_app {
	uint64_t number; /* the key in the map */
	struct admission_app *next, *prev;
	struct admission_publisher *ring;
};

struct publisher_key {
	uint64_t app;
	struct address address;
};
_Static_assert(sizeof(struct publisher_key) == sizeof(uint64_t) + sizeof(struct address),
	       "keys have no padding");

struct admission_publisher {
	struct publisher_key key; /* in the map */
	struct admission_app *app;
	struct admission_publisher *next, *prev;
	struct admission_wait *first, **end;
};

struct admission {
	struct directory *directory;
	struct wake wake;
	atomic_bool is_due; /* a worker has caught up */
	bool is_closed;
	struct map apps, publishers;
	struct admission_app *ring;
	struct admission_wait *oldest, *youngest;
};

#define RING_ADD(ring, item)                                                                       \
	do {                                                                                       \
		(item)->next = (ring) ? (ring) : (item);                                           \
		(item)->prev = (ring) ? (ring)->prev : (item);                                     \
		(item)->next->prev = (item);                                                       \
		(item)->prev->next = (item);                                                       \
		if (!(ring))                                                                       \
			(ring) = (item);                                                           \
	} while (0)

#define RING_REMOVE(ring, item)                                                                    \
	do {                                                                                       \
		(item)->next->prev = (item)->prev;                                                 \
		(item)->prev->next = (item)->next;                                                 \
		if ((ring) == (item))                                                              \
			(ring) = (item)->next == (item) ? NULL : (item)->next;                     \
	} while (0)

/* On the worker's thread, or where a publish has ended. */
static void admission_on_load(void *ctx)
{
	struct admission *a = ctx;

	if (!atomic_exchange(&a->is_due, true))
		wake_signal(&a->wake);
}

struct admission *admission_new(struct directory *d)
{
	struct admission *a = xcalloc(1, sizeof(*a));

	if (wake_init(&a->wake)) {
		free(a);
		return NULL;
	}
	a->directory = d;
	map_init(&a->apps);
	map_init(&a->publishers);
	worker_loads_watch(directory_loads(d), LOAD_WAITER_PUBLISHES, admission_on_load, a);
	return a;
}

void admission_free(struct admission *a)
{
	if (!a)
		return;
	map_release(&a->apps);
	map_release(&a->publishers);
	wake_release(&a->wake);
	free(a);
}

/* ---- the queues ---- */

static struct admission_app *admission_find_app(struct admission *a, uint64_t number)
{
	struct admission_app *app = map_get(&a->apps, sv_n((const char *)&number, sizeof(number)));

	if (app)
		return app;
	app = xcalloc(1, sizeof(*app));
	app->number = number;
	map_put(&a->apps, sv_n((const char *)&app->number, sizeof(app->number)), app);
	RING_ADD(a->ring, app);
	return app;
}

static struct admission_publisher *admission_find_publisher(struct admission *a,
							    const struct publisher_key *key)
{
	struct admission_publisher *p =
		map_get(&a->publishers, sv_n((const char *)key, sizeof(*key)));

	if (p)
		return p;
	p = xcalloc(1, sizeof(*p));
	p->key = *key;
	p->app = admission_find_app(a, key->app);
	p->end = &p->first;
	map_put(&a->publishers, sv_n((const char *)&p->key, sizeof(p->key)), p);
	RING_ADD(p->app->ring, p);
	return p;
}

static void admission_drop_publisher(struct admission *a, struct admission_publisher *p)
{
	struct admission_app *app = p->app;

	map_del(&a->publishers, sv_n((const char *)&p->key, sizeof(p->key)));
	RING_REMOVE(app->ring, p);
	free(p);
	if (app->ring)
		return;
	map_del(&a->apps, sv_n((const char *)&app->number, sizeof(app->number)));
	RING_REMOVE(a->ring, app);
	free(app);
}

/* Takes the first publish of a publisher out.  All of a publisher have the same time to wait, so
 * the first is also the one that is due first. */
static struct admission_wait *admission_unpark(struct admission *a, struct admission_publisher *p)
{
	struct admission_wait *w = p->first;

	p->first = w->next;
	if (!p->first)
		admission_drop_publisher(a, p);
	if (w->older)
		w->older->younger = w->younger;
	else
		a->oldest = w->younger;
	if (w->younger)
		w->younger->older = w->older;
	else
		a->youngest = w->older;
	w->publisher = NULL;
	return w;
}

/* ---- admitting ---- */

/* Adds the workers that are behind to *behind. */
static bool admission_try(struct admission *a, struct admission_wait *w, uint64_t *behind)
{
	uint64_t found;

	if (w->share.workers & *behind)
		return false;
	found = worker_loads_admit(directory_loads(a->directory), &w->share, LOAD_WAITER_PUBLISHES);
	*behind |= found;
	w->is_admitted = !found;
	if (w->is_admitted) {
		metric_add_at(METRIC_ADMISSION, ADMISSION_ADMITTED, 1);
	}
	return w->is_admitted;
}

/* Admits one publish of the application, whose next publisher is then another. */
static bool admission_pass_app(struct admission *a, struct admission_app *app, uint64_t *behind)
{
	struct admission_publisher *p = app->ring, *last = p->prev;

	for (;; p = p->next) {
		struct admission_wait *w = p->first;

		if (admission_try(a, w, behind)) {
			app->ring = p->next;
			admission_unpark(a, p);
			metric_add_at(METRIC_ADMISSION, ADMISSION_WAITED, 1);
			w->done(w, 0);
			return true;
		}
		if (p == last)
			return false;
	}
}

static void admission_pass(struct admission *a)
{
	struct admission_app *app = a->ring, *stop = NULL;
	uint64_t behind = 0;

	/* stop: the first application of a round in which nothing was admitted so far */
	while (app && app != stop) {
		struct admission_app *next = app->next;

		if (!stop)
			stop = app;
		if (admission_pass_app(a, app, &behind)) {
			stop = NULL;
			if (!a->ring)
				return;
			/* next may be the application itself, which may have left the ring */
			app = next == app ? a->ring : next;
			a->ring = app;
		} else {
			app = next;
		}
	}
}

static void admission_expire(struct admission *a, usec_t now)
{
	while (a->oldest && a->oldest->until <= now) {
		struct admission_wait *w = admission_unpark(a, a->oldest->publisher);

		metric_add_at(METRIC_ADMISSION, ADMISSION_REFUSED, 1);
		w->done(w, -ENOBUFS);
	}
}

bool admission_enter(struct admission *a, struct admission_wait *w)
{
	uint64_t behind = 0;

	w->is_admitted = false;
	/* what waits comes first */
	return a->is_closed || (!a->ring && admission_try(a, w, &behind));
}

void admission_park(struct admission *a, const struct app *app, const struct address *publisher,
		    struct admission_wait *w)
{
	const struct publisher_key key = { .app = app->runtime->number, .address = *publisher };
	struct admission_publisher *p = admission_find_publisher(a, &key);

	if (!a->oldest)
		log_debug("publishes wait for the workers");
	w->publisher = p;
	w->until = clock_mono() + ADMISSION_WAIT_US;
	w->next = NULL;
	*p->end = w;
	p->end = &w->next;
	w->younger = NULL;
	w->older = a->youngest;
	if (a->youngest)
		a->youngest->younger = w;
	else
		a->oldest = w;
	a->youngest = w;
	/* others may wait for other workers than it needs: the next admission_run() looks */
	atomic_store(&a->is_due, true);
}

void admission_leave(struct admission *a, struct admission_wait *w)
{
	if (w->is_admitted)
		worker_loads_settle(directory_loads(a->directory), &w->share);
	w->is_admitted = false;
}

int admission_fd(const struct admission *a)
{
	return wake_fd(&a->wake);
}

void admission_woken(struct admission *a)
{
	wake_drain(&a->wake);
}

int admission_run(struct admission *a)
{
	usec_t now, left;

	if (atomic_exchange(&a->is_due, false))
		admission_pass(a);
	if (!a->oldest)
		return -1;
	now = clock_mono();
	admission_expire(a, now);
	if (!a->oldest)
		return -1;
	left = a->oldest->until - now;
	return (int)(left / USEC_PER_MSEC) + 1;
}

void admission_close(struct admission *a)
{
	if (!a)
		return;
	a->is_closed = true;
	admission_expire(a, INT64_MAX);
}
