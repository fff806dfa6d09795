/* SPDX-License-Identifier: MIT */
/* One atomic, so that a count and a notification cannot come between each other. */
#include "base/metric.h"
#include "bus/others.h"

#define JOIN (UINT64_C(1) << 32)

static unsigned others_number(uint_fast64_t state)
{
	return (unsigned)(state & (JOIN - 1));
}

static unsigned others_joins(uint_fast64_t state)
{
	return (unsigned)(state >> 32);
}

/* False: the state is another one by now, which is in *old. */
static bool others_change(struct bus_others *o, uint_fast64_t *old, uint_fast64_t state)
{
	if (!atomic_compare_exchange_weak(&o->state, old, state))
		return false;
	metric_set(METRIC_BUS_NODES, others_number(state));
	return true;
}

void bus_others_init(struct bus_others *o)
{
	atomic_init(&o->state, 0);
}

unsigned bus_others_get(struct bus_others *o)
{
	return others_number(atomic_load_explicit(&o->state, memory_order_relaxed));
}

unsigned bus_others_joins(struct bus_others *o)
{
	return others_joins(atomic_load(&o->state));
}

void bus_others_set(struct bus_others *o, unsigned joins, unsigned n)
{
	uint_fast64_t old = atomic_load(&o->state), state;

	do {
		if (!n && others_joins(old) != joins)
			return;
		state = (old & ~(JOIN - 1)) | n;
	} while (!others_change(o, &old, state));
}

void bus_others_received(struct bus_others *o, bool has_joined)
{
	uint_fast64_t old = atomic_load(&o->state), state;

	do {
		if (!has_joined && others_number(old))
			return;
		state = old + JOIN;
		if (!others_number(old))
			state++;
	} while (!others_change(o, &old, state));
}
