/* SPDX-License-Identifier: MIT */
/*
 * Starts the parts of the daemon in the order of one table, serves, and stops them in the opposite
 * order.  All of it runs on the main thread.
 */
#include <sysexits.h>
#include "base/log.h"
#include "base/macros.h"
#include "base/thread.h"
#include "svc/health.h"
#include "front/listen_fds.h"
#include "daemon/daemon.h"
#include "daemon/service_manager.h"

/*
 * The parts, in the order of their start; they stop in the opposite order, so that each needs only
 * what is still running (docs/architecture.md, Stopping).  The stop of a row may be of an earlier
 * row's part: its place is where that part can stop.  A start returns an exit status, after it has
 * logged why.  A stop also follows a start that failed.
 */
static const struct {
	int (*start)(struct scopewired *d);
	void (*stop)(struct scopewired *d);
} parts[] = {
	{ start_conf, stop_conf },
	{ start_signals, stop_signals },
	{ start_postgres, stop_postgres },
	{ make_bus, free_bus },
	{ start_guard, stop_guard },
	{ start_bus, stop_bus },
	{ make_workers, free_workers },
	{ make_services, free_services },
	{ NULL, stop_delivery_records },
	{ start_events, free_directory },
	{ start_workers, stop_workers },
	{ NULL, stop_drainer },
	{ NULL, close_log },
	{ NULL, stop_presence },
	{ start_reader, stop_reader },
	{ start_authorizer, stop_authorizer },
	{ start_pool, stop_pool },
	{ start_webhooks, stop_webhooks },
	{ start_tls, stop_tls },
	{ start_http, stop_http },
	{ start_housekeeper, stop_housekeeper },
	{ start_apps_watch, stop_apps_watch },
	{ start_admin, stop_admin },
	{ start_drainer, send_clients_away },
	{ start_acceptor, stop_acceptor },
};

int main(int argc, char **argv)
{
	struct scopewired d = { .argc = argc, .argv = argv, .signals = -1 };
	size_t n = 0;
	int rc = EX_OK;

	thread_take_role(&on_main);
	ASSERT_ON(on_main);
	service_manager_take();
	d.n_listen_fds = listen_fds_take(&d.listen_fd);
	for (; n < ARRAY_SIZE(parts) && !rc && !d.is_done; n++)
		if (parts[n].start)
			rc = parts[n].start(&d);
	if (d.is_serving && !d.is_done) {
		service_manager_ready();
		serve_until_signal(&d);
		service_manager_stopping();
		health_set(d.health, HEALTH_STOP, "the daemon is stopping");
		serve_until_noticed(&d);
		rc = d.status;
	}
	while (n-- > 0)
		if (parts[n].stop)
			parts[n].stop(&d);
	if (d.is_serving)
		log_info("stopped");
	return rc;
}
