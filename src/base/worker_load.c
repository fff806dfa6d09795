/* SPDX-License-Identifier: MIT */
/*
 * All counts are atomic, without a lock.  The order between a refusal and the wake-up: a waiter
 * that is refused sets its bit and looks again; the worker subtracts what it wrote and then reads
 * the bits. Both are sequentially consistent, so one of the two sees the other.
 */
#include <stdlib.h>
#include "base/mem.h"
#include "base/worker_load.h"

/* How much measured time the cost of a frame is the mean of. */
#define WINDOW_US (8 * USEC_PER_MSEC)
/* A pause of the thread must not look like the cost of one frame. */
#define FRAME_NS_MAX 1000000

void worker_loads_init(struct worker_loads *l, unsigned n)
{
	size_t bytes = n * sizeof(*l->of);

	*l = (struct worker_loads){ .n = n, .of = aligned_alloc(64, bytes) };
	if (!l->of)
		abort();
	memset(l->of, 0, bytes);
	for (unsigned i = 0; i < n; i++)
		atomic_init(&l->of[i].frame_ns, LOAD_FIRST_NS);
}

void worker_loads_release(struct worker_loads *l)
{
	free(l->of);
	l->of = NULL;
}

void worker_loads_watch(struct worker_loads *l, enum load_waiter who, void (*wake)(void *ctx),
			void *ctx)
{
	l->waiters[who].wake = wake;
	l->waiters[who].ctx = ctx;
}

void worker_loads_posted(struct worker_loads *l, unsigned worker, const struct load_amount *what)
{
	struct worker_load *w = &l->of[worker];

	atomic_fetch_add_explicit(&w->messages, what->messages, memory_order_relaxed);
	atomic_fetch_add_explicit(&w->frames, what->frames, memory_order_relaxed);
	atomic_fetch_add_explicit(&w->bytes, what->bytes, memory_order_relaxed);
}

/* The time that so many frames take. */
static uint64_t load_us(const struct worker_load *w, uint64_t frames)
{
	return frames * atomic_load_explicit(&w->frame_ns, memory_order_relaxed) / 1000;
}

static bool load_is_long(const struct worker_load *w, uint64_t frames, usec_t us)
{
	return load_us(w, frames) > (uint64_t)us;
}

usec_t worker_loads_backlog(const struct worker_loads *l, unsigned worker)
{
	const struct worker_load *w = &l->of[worker];

	return (usec_t)load_us(w, atomic_load_explicit(&w->frames, memory_order_relaxed));
}

/* Above the marks, or above a part of them. */
static bool load_is_above(const struct worker_load *w, unsigned part)
{
	uint64_t messages = atomic_load(&w->messages), frames = atomic_load(&w->frames);
	uint64_t all_messages = messages + atomic_load(&w->promised_messages);
	uint64_t all_frames = frames + atomic_load(&w->promised_frames);

	return (messages > LOAD_FEW_QUEUED && load_is_long(w, frames, LOAD_QUEUED_US / part)) ||
	       (all_messages > LOAD_FEW_PROMISED &&
		load_is_long(w, all_frames, LOAD_PROMISED_US / part)) ||
	       atomic_load_explicit(&w->bytes, memory_order_relaxed) > LOAD_MAX_BYTES / part;
}

/* After the load became less. */
static void load_wake(struct worker_loads *l, struct worker_load *w)
{
	unsigned waiters;

	if (!atomic_load(&w->waiters) || load_is_above(w, 2))
		return;
	waiters = atomic_exchange(&w->waiters, 0);
	for (unsigned who = 0; who < LOAD_WAITERS; who++)
		if ((waiters & 1U << who) && l->waiters[who].wake)
			l->waiters[who].wake(l->waiters[who].ctx);
}

static void load_measure(struct worker_load *w, uint64_t frames, usec_t took)
{
	uint64_t ns;

	w->window_frames += frames;
	w->window_us += took;
	if (w->window_us < WINDOW_US || !w->window_frames)
		return;
	ns = (uint64_t)w->window_us * 1000 / w->window_frames;
	ns = ns > FRAME_NS_MAX ? FRAME_NS_MAX : ns ? ns : 1;
	atomic_store_explicit(&w->frame_ns, (unsigned)ns, memory_order_relaxed);
	w->window_us /= 2;
	w->window_frames /= 2;
}

void worker_loads_written(struct worker_loads *l, unsigned worker, const struct load_amount *what,
			  usec_t started, usec_t now)
{
	struct worker_load *w = &l->of[worker];

	/* Without a pause since the last time, other work of the thread between is part of it. */
	load_measure(w, what->frames, now - (w->written_at ? w->written_at : started));
	atomic_fetch_sub_explicit(&w->bytes, what->bytes, memory_order_relaxed);
	atomic_fetch_sub(&w->frames, what->frames);
	w->written_at = atomic_fetch_sub(&w->messages, what->messages) > what->messages ? now : 0;
	load_wake(l, w);
}

/* Rounded up, since not all workers have the same part. */
static uint64_t worker_share_of_one(const struct load_share *share, uint64_t n)
{
	unsigned workers = (unsigned)__builtin_popcountll(share->workers);

	return (n + workers - 1) / workers;
}

static void load_promise(struct worker_load *w, const struct load_share *share)
{
	atomic_fetch_add(&w->promised_frames, worker_share_of_one(share, share->frames));
	atomic_fetch_add(&w->promised_messages, worker_share_of_one(share, share->messages));
}

static bool load_is_behind(struct worker_load *w, enum load_waiter who)
{
	if (!load_is_above(w, 1))
		return false;
	atomic_fetch_or(&w->waiters, 1U << who);
	return load_is_above(w, 1);
}

/* The lowest worker of the mask, which it is taken from. */
static struct worker_load *loads_next(struct worker_loads *l, uint64_t *mask)
{
	unsigned worker = (unsigned)__builtin_ctzll(*mask);

	*mask &= *mask - 1;
	return &l->of[worker];
}

bool worker_loads_are_behind(struct worker_loads *l, uint64_t workers, enum load_waiter who)
{
	bool any = false;

	while (workers)
		any |= load_is_behind(loads_next(l, &workers), who);
	return any;
}

uint64_t worker_loads_admit(struct worker_loads *l, const struct load_share *share,
			    enum load_waiter who)
{
	uint64_t left = share->workers, behind = 0;

	while (left) {
		struct worker_load *w = loads_next(l, &left);

		if (load_is_behind(w, who))
			behind |= UINT64_C(1) << (w - l->of);
	}
	left = behind ? 0 : share->workers;
	while (left)
		load_promise(loads_next(l, &left), share);
	return behind;
}

void worker_loads_settle(struct worker_loads *l, const struct load_share *share)
{
	uint64_t left = share->workers;

	while (left) {
		struct worker_load *w = loads_next(l, &left);

		atomic_fetch_sub(&w->promised_frames, worker_share_of_one(share, share->frames));
		atomic_fetch_sub(&w->promised_messages,
				 worker_share_of_one(share, share->messages));
		load_wake(l, w);
	}
}
