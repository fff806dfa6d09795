/* SPDX-License-Identifier: MIT */
/*
 * One mutex guards the set; held for a map operation by those who come from outside, and for a
 * walk four times a second by the pool's thread.  An entry stays until its time is over, dead or
 * not, so that the set is bounded by what was asked within the longest TTL.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "svc/viewers.h"
#include "wire/pusher.h"

#define TICK_MS	    250
#define SWEEP_EVERY (2 * USEC_PER_SEC)
#define AT_ONCE	    500 /* of viewing_sweep() */
#define SOCKETS_MAX 1000
#define AGAIN_MAX   500

struct watched {
	uint64_t id;
	usec_t until;	/* mono: the viewer expires by itself then */
	usec_t dead_at; /* mono; 0: alive */
	bool is_told;	/* the database knows that it is dead */
	bool is_asked;	/* is in the sweep that is under way */
};

struct viewers {
	struct pg_pool *pool;
	usec_t grace;
	atomic_size_t n_watched; /* a look at it spares the lock where nobody views anything */

	pthread_mutex_t lock;
	struct map sockets; /* id -> struct watched */

	/* the pool's thread only */
	bool is_sweeping;
	usec_t sweep_at;
};

static const struct pg_statement sweep = {
	.sql = "SELECT viewing_sweep($1)",
	.repeatable = true,
};

static struct str_view id_view(const uint64_t *id)
{
	return sv_n((const char *)id, sizeof(*id));
}

void viewers_watch(struct viewers *v, uint64_t socket_id, unsigned ttl_s)
{
	usec_t until = clock_mono() + ttl_s * USEC_PER_SEC + v->grace;
	struct watched *w;

	pthread_mutex_lock(&v->lock);
	w = map_get(&v->sockets, id_view(&socket_id));
	if (!w) {
		w = xcalloc(1, sizeof(*w));
		w->id = socket_id;
		map_put(&v->sockets, id_view(&w->id), w);
		atomic_fetch_add(&v->n_watched, 1);
	}
	if (w->until < until)
		w->until = until;
	w->is_told = w->is_asked = false;
	pthread_mutex_unlock(&v->lock);
}

void viewers_on_closed(struct viewers *v, uint64_t socket_id)
{
	struct watched *w;

	if (!atomic_load(&v->n_watched))
		return;
	pthread_mutex_lock(&v->lock);
	w = map_get(&v->sockets, id_view(&socket_id));
	if (w && !w->dead_at)
		w->dead_at = clock_mono();
	pthread_mutex_unlock(&v->lock);
}

/* Dead, and its grace is over. */
static bool is_gone(const struct viewers *v, const struct watched *w, usec_t now)
{
	return w->dead_at && now - w->dead_at >= v->grace;
}

static void add_socket(struct strbuf *b, uint64_t id)
{
	char text[SOCKET_ID_SIZE];

	strbuf_addf(b, "%s%s", b->len > 1 ? "," : "", socket_id_format(id, text));
}

/*
 * Lists the dead as members of a text[]; how many of them the database does not know of.  The
 * others go along: a call that began before its socket's death may have come in after it was told.
 * Forgets those whose time is over.
 */
static unsigned gather(struct viewers *v, usec_t now, struct strbuf *b)
{
	struct watched *w, **over = NULL;
	size_t n_over = 0, at = 0;
	unsigned n = 0, n_again = 0;

	pthread_mutex_lock(&v->lock);
	while ((w = map_next(&v->sockets, &at))) {
		bool is_new = is_gone(v, w, now) && !w->is_told && n < SOCKETS_MAX;

		if (is_new || (is_gone(v, w, now) && now <= w->until && n_again < AGAIN_MAX)) {
			w->is_asked = true;
			add_socket(b, w->id);
			n += is_new;
			n_again += !is_new;
		} else if (now > w->until) {
			over = xreallocarray(over, n_over + 1, sizeof(struct watched *));
			over[n_over++] = w;
		}
	}
	for (size_t i = 0; i < n_over; i++) {
		map_del(&v->sockets, id_view(&over[i]->id));
		atomic_fetch_sub(&v->n_watched, 1);
		free(over[i]);
	}
	pthread_mutex_unlock(&v->lock);
	free(over);
	return n;
}

static void note_told(struct viewers *v, bool is_told)
{
	struct watched *w;
	size_t at = 0;

	pthread_mutex_lock(&v->lock);
	while ((w = map_next(&v->sockets, &at))) {
		w->is_told |= w->is_asked && is_told;
		w->is_asked = false;
	}
	pthread_mutex_unlock(&v->lock);
}

static void on_swept(void *ctx, const struct pg_answer *a)
{
	struct viewers *v = ctx;
	bool is_all = a->rc == 0 && strtoul(pg_answer_text(a, 0, 0), NULL, 10) < AT_ONCE;

	if (a->rc == -EINVAL)
		log_error("viewing: the database refused: %s", pg_answer_message(a));
	v->is_sweeping = false;
	if (a->rc == 0 && !is_all)
		v->sweep_at = 0;
	note_told(v, is_all);
}

static void tick(void *ctx)
{
	struct viewers *v = ctx;
	usec_t now = clock_mono();
	struct strbuf sockets;
	const char *value;

	if (v->is_sweeping)
		return;
	strbuf_init(&sockets, 32);
	strbuf_add_c(&sockets, '{');
	if (gather(v, now, &sockets) || now >= v->sweep_at) {
		strbuf_add_c(&sockets, '}');
		v->sweep_at = now + SWEEP_EVERY;
		v->is_sweeping = true;
		value = sockets.ptr;
		pg_pool_query(v->pool, &sweep, 1, &value, on_swept, v);
	}
	strbuf_release(&sockets);
}

struct viewers *viewers_new(struct pg_pool *pool, const struct conf_sync *conf)
{
	struct viewers *v = xcalloc(1, sizeof(*v));

	v->pool = pool;
	v->grace = conf->viewing_grace_ms * USEC_PER_MSEC;
	atomic_init(&v->n_watched, 0);
	pthread_mutex_init(&v->lock, NULL);
	map_init(&v->sockets);
	pg_pool_every(pool, TICK_MS, tick, v);
	return v;
}

void viewers_free(struct viewers *v)
{
	struct watched *w;
	size_t at = 0;

	if (!v)
		return;
	while ((w = map_next(&v->sockets, &at)))
		free(w);
	map_release(&v->sockets);
	pthread_mutex_destroy(&v->lock);
	free(v);
}
