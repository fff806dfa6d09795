/* SPDX-License-Identifier: MIT */
/*
 * The word holds the time at which the bucket will be empty again.  A request moves it by its
 * share of the window, and is refused when the result is more than a window ahead of now.
 */
#include "base/annotate.h"
#include <pthread.h>
#include "base/map.h"
#include "base/mem.h"
#include "core/limit.h"

/* The word after n more requests; 0 when they are refused. */
static uint64_t limit_next_word(uint64_t word, unsigned rate, usec_t window_us, unsigned n,
				usec_t now)
{
	uint64_t start = word > (uint64_t)now ? word : (uint64_t)now;
	uint64_t next = start + (uint64_t)window_us * n / rate;

	return next <= (uint64_t)(now + window_us) ? next : 0;
}

bool limit_take(uint64_t *word, unsigned rate, usec_t window_us, unsigned n, usec_t now)
{
	uint64_t next;

	if (!rate)
		return true;
	next = limit_next_word(*word, rate, window_us, n, now);
	if (!next)
		return false;
	*word = next;
	return true;
}

bool limit_take_shared(_Atomic uint64_t *word, unsigned rate, usec_t window_us, unsigned n,
		       usec_t now)
{
	uint64_t seen = atomic_load_explicit(word, memory_order_relaxed);
	uint64_t next;

	if (!rate)
		return true;
	do {
		next = limit_next_word(seen, rate, window_us, n, now);
		if (!next)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(word, &seen, next, memory_order_relaxed,
							memory_order_relaxed));
	return true;
}

/* ---- client addresses ---- */

#define SWEEP_MIN 1024

/* For clang: this thread holds the lock. */
static struct TSA(capability("mutex")) addresses_held {
	char unused;
} addresses_held UNUSED;

struct address_count {
	struct address address; /* its bytes are the key in the map */
	unsigned connections OWNED_BY(addresses_held);
	size_t unread OWNED_BY(addresses_held);	      /* bytes */
	uint64_t handshakes OWNED_BY(addresses_held); /* a bucket */
};

struct address_limits {
	unsigned max_connections, max_handshakes_per_second, max_unread_bytes;
	pthread_mutex_t lock;
	struct map counts OWNED_BY(addresses_held); /* address -> struct address_count */
	/* the number of entries at which the next sweep begins */
	size_t sweep_at OWNED_BY(addresses_held);
};

static void addresses_lock(struct address_limits *l) TSA(acquire_capability(addresses_held)) NO_TSA
{
	pthread_mutex_lock(&l->lock);
}

static void addresses_unlock(struct address_limits *l)
	TSA(release_capability(addresses_held)) NO_TSA
{
	pthread_mutex_unlock(&l->lock);
}

struct address_limits *address_limits_new(unsigned max_connections,
					  unsigned max_handshakes_per_second,
					  unsigned max_unread_bytes)
{
	struct address_limits *l = xcalloc(1, sizeof(*l));

	l->max_connections = max_connections;
	l->max_handshakes_per_second = max_handshakes_per_second;
	l->max_unread_bytes = max_unread_bytes;
	pthread_mutex_init(&l->lock, NULL);
	addresses_lock(l);
	map_init(&l->counts);
	l->sweep_at = SWEEP_MIN;
	addresses_unlock(l);
	return l;
}

void address_limits_free(struct address_limits *l) NO_TSA /* no other thread has it any more */
{
	struct address_count *c;
	size_t at = 0;

	if (!l)
		return;
	while ((c = map_next(&l->counts, &at)))
		free(c);
	map_release(&l->counts);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

static struct str_view address_count_key(const struct address_count *c)
{
	return sv_n((const char *)c->address.bytes, sizeof(c->address.bytes));
}

/* Forgets addresses without a connection and with a full bucket. */
static void address_limits_sweep_locked(struct address_limits *l, usec_t now)
	NEEDS_LOCK(addresses_held)
{
	struct map old = l->counts;
	struct address_count *c;
	size_t at = 0;

	map_init(&l->counts);
	while ((c = map_next(&old, &at))) {
		if (c->connections || c->handshakes > (uint64_t)now)
			map_put(&l->counts, address_count_key(c), c);
		else
			free(c);
	}
	map_release(&old);
	l->sweep_at = l->counts.used * 2 < SWEEP_MIN ? SWEEP_MIN : l->counts.used * 2;
}

static struct address_count *address_limits_find_locked(struct address_limits *l,
							const struct address *a, usec_t now)
	NEEDS_LOCK(addresses_held)
{
	struct address_count *c, wanted = { .address = address_network(a) };

	c = map_get(&l->counts, address_count_key(&wanted));
	if (c)
		return c;
	if (l->counts.used >= l->sweep_at)
		address_limits_sweep_locked(l, now);
	c = xmalloc(sizeof(*c));
	*c = wanted;
	map_put(&l->counts, address_count_key(c), c);
	return c;
}

static enum address_verdict address_limits_count(struct address_limits *l, const struct address *a,
						 usec_t now, bool is_handshake,
						 struct address_count **out)
{
	enum address_verdict verdict = ADDRESS_ADMITTED;
	struct address_count *c;

	*out = NULL;
	if (!l || !address_is_known(a) || address_is_loopback(a))
		return ADDRESS_ADMITTED;
	addresses_lock(l);
	c = address_limits_find_locked(l, a, now);
	if (is_handshake &&
	    !limit_take(&c->handshakes, l->max_handshakes_per_second, USEC_PER_SEC, 1, now)) {
		verdict = ADDRESS_HANDSHAKES;
	} else if (l->max_connections && c->connections >= l->max_connections) {
		verdict = ADDRESS_CONNECTIONS;
	} else {
		c->connections++;
		*out = c;
	}
	addresses_unlock(l);
	return verdict;
}

enum address_verdict address_limits_enter(struct address_limits *l, const struct address *a,
					  usec_t now, struct address_count **out)
{
	return address_limits_count(l, a, now, true, out);
}

enum address_verdict address_limits_connect(struct address_limits *l, const struct address *a,
					    usec_t now, struct address_count **out)
{
	return address_limits_count(l, a, now, false, out);
}

void address_limits_leave(struct address_limits *l, struct address_count *c)
{
	if (!c)
		return;
	addresses_lock(l);
	c->connections--;
	addresses_unlock(l);
}

bool address_limits_take_unread(struct address_limits *l, struct address_count *c, size_t n)
{
	bool ok;

	if (!c)
		return true;
	addresses_lock(l);
	ok = !l->max_unread_bytes || !c->unread ||
	     (c->unread <= l->max_unread_bytes && n <= l->max_unread_bytes - c->unread);
	if (ok)
		c->unread += n;
	addresses_unlock(l);
	return ok;
}

bool address_limits_is_unread_full(struct address_limits *l, struct address_count *c)
{
	bool is_full;

	if (!c)
		return false;
	addresses_lock(l);
	is_full = l->max_unread_bytes && c->unread >= l->max_unread_bytes;
	addresses_unlock(l);
	return is_full;
}

void address_limits_add_unread(struct address_limits *l, struct address_count *c, size_t n)
{
	if (!c)
		return;
	addresses_lock(l);
	c->unread += n;
	addresses_unlock(l);
}

void address_limits_give_unread(struct address_limits *l, struct address_count *c, size_t n)
{
	if (!c)
		return;
	addresses_lock(l);
	c->unread -= n;
	addresses_unlock(l);
}
