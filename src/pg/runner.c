/* SPDX-License-Identifier: MIT */
/*
 * Shared with other threads: is_stopping and the wake-up.  The rest belongs to the runner's thread.
 */
#include <stdatomic.h>
#include "base/backoff.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/wake.h"
#include "pg/gate.h"
#include "pg/listener.h"
#include "pg/runner.h"

#define STEADY_US USEC_PER_SEC /* a connection that lasted this long resets the backoff */

struct pg_runner {
	struct pg_runner_conf conf;
	pthread_t thread;
	struct wake wake;
	atomic_bool is_stopping;
	struct backoff backoff; /* the runner's thread only */
};

static int runner_tick(void *ctx)
{
	return pg_runner_is_stopping(ctx);
}

static bool runner_is_finished(struct pg_runner *r)
{
	return r->conf.is_finished ? r->conf.is_finished(r->conf.ctx) : pg_runner_is_stopping(r);
}

/*
 * Until the next attempt is due, or the runner stops.  Between half and all of ms, so that many
 * nodes do not connect at the same moment.
 */
static void runner_pause(struct pg_runner *r, unsigned ms)
{
	const struct pg_runner_conf *conf = &r->conf;
	usec_t now = clock_mono(), half = ms * USEC_PER_MSEC / 2;
	usec_t until = now + half + now % (half + 1);
	bool is_woken = false;

	if (conf->on_away)
		conf->on_away(conf->ctx);
	while (!runner_is_finished(r) && (now = clock_mono()) < until) {
		int left_ms = (int)((until - now + USEC_PER_MSEC - 1) / USEC_PER_MSEC);

		if (conf->away_every_ms && left_ms > (int)conf->away_every_ms)
			left_ms = (int)conf->away_every_ms;
		is_woken = wake_wait(&r->wake, left_ms);
		if (conf->on_away && (is_woken || conf->away_every_ms) && !pg_runner_is_stopping(r))
			conf->on_away(conf->ctx);
	}
}

RUNS_ON(on_db) static void *runner_run(void *arg)
{
	struct pg_runner *r = arg;
	const struct pg_runner_conf *conf = &r->conf;

	backoff_init(&r->backoff, conf->backoff_min_ms, conf->backoff_max_ms);
	while (!runner_is_finished(r)) {
		struct pg_connection *c = NULL;
		char *why = NULL;

		if (!pg_gate_is_open()) {
			runner_pause(r, PG_GATE_MS);
			continue;
		}
		if (pg_conn_open(&conf->options, &c, &why) == 0) {
			usec_t since = clock_mono();
			enum pg_fault fault = conf->serve(conf->ctx, c);

			if (fault != PG_FINE && conf->on_down)
				conf->on_down(conf->ctx, pg_conn_error(c));
			else if (fault != PG_FINE && !pg_runner_is_stopping(r))
				log_warn("%s: %s; connecting again", conf->name, pg_conn_error(c));
			pg_conn_close(c);
			if (clock_mono() - since > STEADY_US)
				backoff_reset(&r->backoff);
		} else if (conf->on_down) {
			conf->on_down(conf->ctx, why ? why : "cannot connect");
		}
		free(why);
		if (!runner_is_finished(r))
			runner_pause(r, backoff_next(&r->backoff));
	}
	return NULL;
}

static void runner_free(struct pg_runner *r)
{
	wake_release(&r->wake);
	free(r);
}

int pg_runner_start(const struct pg_runner_conf *conf, struct pg_runner **out)
{
	struct pg_runner *r = xcalloc(1, sizeof(*r));
	int rc;

	r->conf = *conf;
	if (!r->conf.options.tick) {
		r->conf.options.tick = runner_tick;
		r->conf.options.ctx = r;
	}
	*out = r;
	rc = wake_init(&r->wake);
	if (rc == 0)
		rc = thread_start(&r->thread, conf->name, &on_db, runner_run, r);
	if (rc) {
		*out = NULL;
		runner_free(r);
	}
	return rc;
}

void pg_runner_stop(struct pg_runner *r)
{
	if (!r)
		return;
	atomic_store(&r->is_stopping, true);
	wake_signal(&r->wake);
	pthread_join(r->thread, NULL);
	runner_free(r);
}

void pg_runner_wake(struct pg_runner *r)
{
	wake_signal(&r->wake);
}

bool pg_runner_is_stopping(const struct pg_runner *r)
{
	return atomic_load(&r->is_stopping);
}

enum pg_fault pg_runner_wait(struct pg_runner *r, struct pg_connection *c, usec_t deadline,
			     struct pg_news *news)
{
	enum pg_fault fault =
		pg_listener_wait(c, wake_fd(&r->wake), deadline, &news->notifications);

	news->is_woken = wake_wait(&r->wake, 0);
	return fault;
}

void pg_runner_reset_backoff(struct pg_runner *r)
{
	backoff_reset(&r->backoff);
}

struct wake *pg_runner_get_wake(struct pg_runner *r)
{
	return &r->wake;
}
