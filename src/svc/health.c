/* SPDX-License-Identifier: MIT */
/*
 * One atomic word with a bit for each failing check; no lock.  Each bit is set by one thread, which
 * also logs the change; any thread reads.
 */
#include <stdatomic.h>
#include "base/log.h"
#include "base/mem.h"
#include "svc/health.h"

struct health {
	atomic_uint failing; /* a bit for each check */
};

struct health *health_new(void)
{
	struct health *h = xcalloc(1, sizeof(*h));

	atomic_init(&h->failing, 1u << HEALTH_DATABASE);
	return h;
}

void health_free(struct health *h)
{
	free(h);
}

void health_set(struct health *h, enum health_check check, const char *why)
{
	unsigned bit = 1u << check;

	if (why) {
		if (!(atomic_fetch_or(&h->failing, bit) & bit))
			log_warn("/ready answers 503: %s", why);
	} else if (atomic_fetch_and(&h->failing, ~bit) == bit) {
		log_info("/ready answers 200 again");
	}
}

bool health_is_ready(const struct health *h)
{
	return atomic_load_explicit(&h->failing, memory_order_relaxed) == 0;
}

bool health_passes(const struct health *h, enum health_check check)
{
	return !(atomic_load_explicit(&h->failing, memory_order_relaxed) & 1u << check);
}

const char *health_check_name(enum health_check check)
{
	static const char *const names[HEALTH_CHECKS] = { [HEALTH_DATABASE] = "database",
							  [HEALTH_LOCKS] = "locks",
							  [HEALTH_LOG] = "log",
							  [HEALTH_STOP] = "stop" };

	return names[check];
}
