/* SPDX-License-Identifier: MIT */
/* Counts what each subscriber received of each publisher: lost, repeated, out of order. */
#include "ledger.h"

#include "util.h"

#define EMPTY UINT64_MAX
#define GONE  (UINT64_MAX - 1)

struct ledger {
	uint32_t publishers;
	uint32_t *next;	     /* [subscriber * publishers + publisher] */
	uint64_t *missing;   /* open-addressed set of keys, see key_of() */
	uint64_t slots;	     /* of missing; a power of two */
	uint64_t slots_used; /* live keys and GONE marks */
	struct ledger_sum sum;
};

static uint64_t key_of(const struct ledger *l, uint32_t subscriber, uint32_t publisher,
		       uint32_t seq)
{
	return ((uint64_t)subscriber * l->publishers + publisher) << 32 | seq;
}

static uint64_t *slot_of(const struct ledger *l, uint64_t key)
{
	uint64_t i = key * UINT64_C(0x9E3779B97F4A7C15) >> 20;

	while (l->missing[i & (l->slots - 1)] != EMPTY && l->missing[i & (l->slots - 1)] != key)
		i++;
	return &l->missing[i & (l->slots - 1)];
}

static void make_slots(struct ledger *l, uint64_t slots)
{
	l->slots = slots;
	l->slots_used = 0;
	l->missing = xrealloc(NULL, slots * sizeof(*l->missing));
	memset(l->missing, 0xff, slots * sizeof(*l->missing));
}

static void miss(struct ledger *l, uint64_t key)
{
	uint64_t *old = l->missing;
	uint64_t n = l->slots;
	uint64_t i;

	if (l->slots_used * 2 >= n) {
		make_slots(l, n * 2);
		for (i = 0; i < n; i++) {
			if (old[i] == EMPTY || old[i] == GONE)
				continue;
			*slot_of(l, old[i]) = old[i];
			l->slots_used++;
		}
		free(old);
	}
	*slot_of(l, key) = key;
	l->slots_used++;
}

struct ledger *ledger_new(uint32_t subscribers, uint32_t publishers)
{
	struct ledger *l = xcalloc(1, sizeof(*l));

	l->publishers = publishers;
	l->next = xcalloc((size_t)subscribers * publishers, sizeof(*l->next));
	make_slots(l, 1024);
	return l;
}

void ledger_free(struct ledger *l)
{
	free(l->next);
	free(l->missing);
	free(l);
}

static void got_old(struct ledger *l, uint64_t key)
{
	uint64_t *slot = slot_of(l, key);

	if (*slot != key) {
		l->sum.repeated++;
		return;
	}
	*slot = GONE;
	l->sum.out_of_order++;
	l->sum.received++;
}

void ledger_got(struct ledger *l, uint32_t subscriber, uint32_t publisher, uint32_t seq)
{
	uint32_t *next = &l->next[(size_t)subscriber * l->publishers + publisher];

	if (seq < *next) {
		got_old(l, key_of(l, subscriber, publisher, seq));
		return;
	}
	for (; *next < seq; (*next)++)
		miss(l, key_of(l, subscriber, publisher, *next));
	(*next)++;
	l->sum.received++;
}

void ledger_close(struct ledger *l, uint32_t subscriber, uint32_t publisher, uint32_t published)
{
	uint32_t next = l->next[(size_t)subscriber * l->publishers + publisher];
	uint32_t seq;

	if (published > next)
		l->sum.lost += published - next;
	for (seq = 0; l->slots_used > 0 && seq < next && seq < published; seq++)
		if (*slot_of(l, key_of(l, subscriber, publisher, seq)) != EMPTY)
			l->sum.lost++;
}

const struct ledger_sum *ledger_sum(const struct ledger *l)
{
	return &l->sum;
}
