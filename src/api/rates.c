/* SPDX-License-Identifier: MIT */
/* Runs on the http thread; rates_take_more() on the thread that has the call. */
#include "base/metric.h"
#include "core/limit.h"
#include "svc/quotas.h"
#include "api/rates.h"
#include "api/reply.h"

bool rates_take_events(struct call *c, unsigned n)
{
	unsigned rate = c->app->limits.max_backend_events_per_second;

	/* an event for more channels than the rate allows takes a whole second's worth */
	if (!rate || limit_take_shared(&c->app->runtime->backend_bucket, rate, USEC_PER_SEC,
				       n < rate ? n : rate, clock_mono()))
		return true;
	metric_add_at(METRIC_RATE_LIMITED, RATED_EVENTS, 1);
	if (c->is_sync)
		call_fail_code(c, 429, "rate_limited", NULL,
			       "Too many requests per second; try again later.");
	else
		call_fail(c, 429, "Too many events per second; try again later.");
	return false;
}

bool rates_take_read(struct call *c)
{
	unsigned rate = c->app->limits.max_read_requests_per_second;

	if (!rate ||
	    limit_take_shared(&c->app->runtime->read_bucket, rate, USEC_PER_SEC, 1, clock_mono()))
		return true;
	metric_add_at(METRIC_RATE_LIMITED, RATED_READS, 1);
	call_fail_code(c, 429, "rate_limited", NULL,
		       "Too many requests per second; try again later.");
	return false;
}

static bool rates_check_quota(struct call *c, struct quota_refusal refusal)
{
	bool is_user;

	if (!refusal.option)
		return true;
	is_user = strstr(refusal.option, "max_user_") != NULL;
	metric_add_at(METRIC_RATE_LIMITED, is_user ? RATED_USER_CALLS : RATED_APP_CALLS, 1);
	call_fail_code(c, 429, "rate_limited", NULL, "%s exceeds %s (%u); try again later.",
		       is_user ? "The user" : "The application", refusal.option, refusal.limit);
	return false;
}

bool rates_take_quota(struct call *c)
{
	return rates_check_quota(
		c, quotas_begin(c->services->quotas, c->app, c->caller.user, c->r->body.len));
}

bool rates_take_more(struct sync_call *sc, unsigned n)
{
	struct call *c = &sc->call;

	if (!n || !user_key_is_set(c->caller.user) ||
	    rates_check_quota(c, quotas_take(c->services->quotas, c->app, c->caller.user, n)))
		return true;
	sync_call_free(sc);
	return false;
}
