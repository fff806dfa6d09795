/* SPDX-License-Identifier: MIT */
/*
 * The worker threads.  Each has a libuv loop with a libwebsockets context, and a hub with its
 * sessions.
 *
 * Threads: all members of struct worker belong to the worker's thread, except the mailboxes and the
 * atomic members.  Any thread may put a message into a mailbox; it calls uv_async_send() only if
 * the mailbox was empty.  The contexts are created one after another, because the global
 * initialization of libwebsockets is not thread-safe.
 */
#include <errno.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "ws/frame_guard.h"
#include "ws/worker-private.h"

#define TICK_MS		250
#define DRAIN_TICK_MS	20  /* while the sessions are closed */
#define FLUSH_EVERY	128 /* messages whose frames for one session leave as one write */
#define RX_BUFFER_BYTES 256
#define TX_PACKET_BYTES 65536
#define HEAD_ROOM	256 /* what handshake_rewrite() may add to a head */

/* core/sessions/liveness.c sends the pings; libwebsockets' own list would cost O(n) for a
 * connection. */
static const lws_retry_bo_t no_pings = { .secs_since_valid_ping = 0, .secs_since_valid_hangup = 0 };

static const struct lws_protocols protocols[] = {
	{ .name = "pusher",
	  .callback = ws_callback,
	  .per_session_data_size = sizeof(struct conn),
	  .rx_buffer_size = RX_BUFFER_BYTES,
	  .tx_packet_size = TX_PACKET_BYTES },
	{ 0 },
};

static void worker_wake(struct worker *w)
{
	uv_async_send(&w->async);
}

/* Puts a command (heap, taken) into the mailbox and wakes the worker.  Any thread. */
static void worker_send_command(struct worker *w, struct worker_command *c)
{
	if (mailbox_put_owed(&w->commands, &c->entry) > 0)
		worker_wake(w);
}

static bool post_put(void *ctx, unsigned worker, struct mailbox_entry *e)
{
	struct workers *all = ctx;
	int rc = mailbox_put_owed(&all->w[worker].messages, e);

	if (rc == -EPIPE) /* it has ended */
		worker_message_free(CONTAINER_OF(e, struct worker_message, entry));
	return rc > 0;
}

static void post_wake(void *ctx, unsigned worker)
{
	struct workers *all = ctx;

	worker_wake(&all->w[worker]);
}

void workers_directory_post(struct workers *w, struct directory_post *out)
{
	*out = (struct directory_post){ .put = post_put, .wake = post_wake, .ctx = w };
}

static void worker_read_commands(struct worker *w) RUNS_ON(on_worker)
{
	struct mailbox_entry *e = mailbox_take(&w->commands), *next;

	for (; e; e = next) {
		struct worker_command *c = CONTAINER_OF(e, struct worker_command, entry);

		next = e->next;
		switch (c->kind) {
		case COMMAND_ADOPT:
			worker_adopt(w, c);
			break;
		case COMMAND_RELOAD:
			hub_reload(w->hub);
			break;
		case COMMAND_DRAIN:
			w->drain_ms = c->ms;
			w->drain_until = clock_mono() + c->ms * USEC_PER_MSEC;
			uv_timer_set_repeat(&w->timer, DRAIN_TICK_MS);
			uv_timer_again(&w->timer);
			break;
		case COMMAND_STOP:
			w->is_stopping = true;
			uv_stop(&w->loop);
			break;
		}
		free(c);
	}
}

static void worker_read_messages(struct worker *w) RUNS_ON(on_worker)
{
	struct mailbox_entry *e = mailbox_take(&w->messages), *next;
	unsigned n = 0;

	if (e && e->next)
		hub_begin(w->hub);
	for (; e; e = next) {
		next = e->next;
		hub_deliver(w->hub, CONTAINER_OF(e, struct worker_message, entry));
		if (++n % FLUSH_EVERY == 0 && next) {
			hub_flush(w->hub);
			hub_begin(w->hub);
		}
	}
	hub_flush(w->hub);
}

/* Runs libwebsockets once if a timeout was set, and publishes the number of sessions. */
static void worker_end_round(struct worker *w) RUNS_ON(on_worker)
{
	if (w->needs_service) {
		w->needs_service = false;
		lws_cancel_service(w->context);
	}
	atomic_store_explicit(&w->sessions, hub_sessions(w->hub), memory_order_relaxed);
}

static void on_async(uv_async_t *handle)
{
	struct worker *w = handle->data;

	ASSERT_ON(on_worker);
	worker_read_commands(w);
	worker_read_messages(w);
	if (atomic_exchange(&w->may_resume, false))
		hub_resume(w->hub);
	worker_end_round(w);
}

/* Once a second: sets the metric of the share of the time in which the loop was busy. */
static void worker_observe(struct worker *w, usec_t now) RUNS_ON(on_worker)
{
	usec_t idle, window = now - w->observed_at;

	if (window < USEC_PER_SEC)
		return;
	idle = (usec_t)(uv_metrics_idle_time(&w->loop) / 1000);
	if (w->observed_at && idle - w->idle_before < window)
		metric_set_at(METRIC_WORKER_BUSY, w->index,
			      1000000 * (window - (idle - w->idle_before)) / window);
	else
		metric_set_at(METRIC_WORKER_BUSY, w->index, 0);
	metric_set_at(METRIC_WORKER_BACKLOG, w->index,
		      (int64_t)worker_loads_backlog(directory_loads(w->all->directory), w->index));
	w->observed_at = now;
	w->idle_before = idle;
}

static void on_timer(uv_timer_t *handle)
{
	struct worker *w = handle->data;
	usec_t now = clock_mono();

	ASSERT_ON(on_worker);
	atomic_store_explicit(&w->turned_at, now, memory_order_relaxed);
	hub_tick(w->hub, now);
	worker_observe(w, now);
	if (w->drain_until) {
		/* A share of the remaining sessions, so that the last is closed when the time ends.
		 */
		usec_t left = w->drain_until - now, slice = DRAIN_TICK_MS * USEC_PER_MSEC;

		hub_drain(w->hub, left <= slice ? 1000 : (unsigned)(1000 * slice / left),
			  w->drain_ms);
	}
	worker_end_round(w);
}

static struct lws_vhost *worker_make_vhost(struct worker *w, const char *name, bool tls)
	RUNS_ON(on_worker)
{
	const struct workers_conf *conf = &w->all->conf;
	struct lws_context_creation_info info = {
		.port = CONTEXT_PORT_NO_LISTEN_SERVER,
		.vhost_name = name,
		.protocols = protocols,
		.retry_and_idle_policy = &no_pings,
		.alpn = "http/1.1",
		.keepalive_timeout = 60,
		.timeout_secs = (conf->request_timeout_ms + 999) / 1000,
		.timeout_secs_ah_idle = (conf->request_timeout_ms + 999) / 1000,
	};

	/* Connections bring their own TLS state, see adopt.c; the certificate is not the vhost's.
	 * The library itself is set up by the first context's option only. */
	if (tls)
		info.options |= LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT |
				LWS_SERVER_OPTION_CREATE_VHOST_SSL_CTX;
	return lws_create_vhost(w->context, &info);
}

static int worker_make_context(struct worker *w) RUNS_ON(on_worker)
{
	const struct workers_conf *conf = &w->all->conf;
	void *loops[1] = { &w->loop };
	struct lws_context_creation_info info = {
		.port = CONTEXT_PORT_NO_LISTEN_SERVER,
		.options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
		.foreign_loops = loops,
		.user = w,
		/* A head is read to its end at once, so one is in use at a time. */
		.max_http_header_data2 = conf->max_head_bytes + HEAD_ROOM,
		.max_http_header_pool2 = 16,
		.timeout_secs = (conf->request_timeout_ms + 999) / 1000,
		.pt_serv_buf_size = 16384,
		.gid = (gid_t)-1,
		.uid = (uid_t)-1,
	};

	if (conf->has_tls && w->index == 0)
		info.options |= LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
	w->context = lws_create_context(&info);
	if (!w->context)
		return -ENOMEM;
	w->plain = worker_make_vhost(w, "plain", false);
	if (!w->plain)
		return -ENOMEM;
	if (conf->has_tls) {
		w->tls = worker_make_vhost(w, "tls", true);
		if (!w->tls)
			return -ENOMEM;
	}
	return 0;
}

static void worker_close_handles(struct worker *w)
{
	uv_close((uv_handle_t *)&w->timer, NULL);
	uv_close((uv_handle_t *)&w->async, NULL);
	uv_run(&w->loop, UV_RUN_DEFAULT);
	w->has_handles = false;
}

/*
 * Closes the remaining connections, lets libuv finish every handle, frees what is queued.  The loop
 * stays open until workers_free(): other threads may still wake the worker, and libuv ends the
 * process when it cannot write to the loop's descriptor.
 */
static void worker_release(struct worker *w) RUNS_ON(on_worker)
{
	struct mailbox_entry *e, *next;

	worker_read_commands(w);
	if (w->context)
		lws_context_destroy(w->context);
	worker_close_handles(w);
	if (w->context)
		lws_context_destroy(w->context);
	w->context = NULL;
	w->plain = w->tls = NULL;
	worker_read_commands(w);
	mailbox_close(&w->messages);
	for (e = mailbox_take(&w->messages); e; e = next) {
		next = e->next;
		worker_message_free(CONTAINER_OF(e, struct worker_message, entry));
	}
	hub_free(w->hub);
	w->hub = NULL;
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct hub_conf hc = w->all->conf.hub;
	int rc;

	ASSERT_ON(on_worker);
	frame_guard_enter_thread();
	hc.worker = w->index;
	hc.directory = w->all->directory;
	hc.io = &ws_io;
	hc.connections = &w->all->connections;
	w->hub = hub_new(&hc);
	uv_timer_start(&w->timer, on_timer, TICK_MS, TICK_MS);
	rc = worker_make_context(w);
	pthread_mutex_lock(&w->all->start_lock);
	w->start_rc = rc;
	w->is_started = true;
	pthread_cond_signal(&w->all->start_cond);
	pthread_mutex_unlock(&w->all->start_lock);
	/* Also after a failure: the loop ends with COMMAND_STOP. */
	uv_run(&w->loop, UV_RUN_DEFAULT);
	worker_release(w);
	return NULL;
}

static void worker_log_lws(int level, const char *line)
{
	size_t n = strcspn(line, "\n");

	if (level & LLL_ERR)
		log_debug("libwebsockets: %.*s", (int)n, line);
}

struct workers *workers_new(const struct workers_conf *conf)
{
	struct workers *all = xcalloc(1, sizeof(*all) + conf->n * sizeof(all->w[0]));

	lws_set_log_level(LLL_ERR, worker_log_lws);
	all->conf = *conf;
	metric_set_workers(conf->n);
	pthread_mutex_init(&all->start_lock, NULL);
	pthread_cond_init(&all->start_cond, NULL);
	for (unsigned i = 0; i < conf->n; i++) {
		struct worker *w = &all->w[i];

		w->all = all;
		w->index = i;
		mailbox_init(&w->messages, 0);
		mailbox_init(&w->commands, 0);
		uv_loop_init(&w->loop);
		uv_loop_configure(&w->loop, UV_METRICS_IDLE_TIME);
		uv_async_init(&w->loop, &w->async, on_async);
		uv_timer_init(&w->loop, &w->timer);
		w->async.data = w->timer.data = w;
		w->has_handles = true;
	}
	return all;
}

static int worker_start(struct worker *w)
{
	char name[16];
	int rc;

	snprintf(name, sizeof(name), "worker-%u", w->index);
	rc = thread_start(&w->thread, name, &on_worker, worker_main, w);
	if (rc)
		return rc;
	pthread_mutex_lock(&w->all->start_lock);
	while (!w->is_started)
		pthread_cond_wait(&w->all->start_cond, &w->all->start_lock);
	rc = w->start_rc;
	pthread_mutex_unlock(&w->all->start_lock);
	return rc;
}

/* Any thread. */
static void workers_on_caught_up(void *ctx)
{
	struct workers *all = ctx;

	for (unsigned i = 0; i < all->conf.n; i++) {
		atomic_store(&all->w[i].may_resume, true);
		worker_wake(&all->w[i]);
	}
}

int workers_start(struct workers *w, struct directory *d)
{
	w->directory = d;
	worker_loads_watch(directory_loads(d), LOAD_WAITER_CLIENTS, workers_on_caught_up, w);
	for (unsigned i = 0; i < w->conf.n; i++) {
		int rc = worker_start(&w->w[i]);

		if (rc)
			return rc;
	}
	return 0;
}

void workers_adopt(struct workers *all, int fd, SSL *ssl, struct str_view head)
{
	struct worker_command *c = xcalloc(1, sizeof(*c));
	struct worker *best = &all->w[0];

	for (unsigned i = 1; i < all->conf.n; i++)
		if (atomic_load_explicit(&all->w[i].load, memory_order_relaxed) <
		    atomic_load_explicit(&best->load, memory_order_relaxed))
			best = &all->w[i];
	atomic_fetch_add_explicit(&best->load, 1, memory_order_relaxed);
	*c = (struct worker_command){ .kind = COMMAND_ADOPT, .fd = fd, .ssl = ssl };
	strbuf_init(&c->head, head.len);
	strbuf_add_sv(&c->head, head);
	worker_send_command(best, c);
}

static void workers_send_command(struct workers *all, struct worker_command what)
{
	for (unsigned i = 0; i < all->conf.n; i++) {
		struct worker_command *c = xcalloc(1, sizeof(*c));

		*c = what;
		worker_send_command(&all->w[i], c);
	}
}

void workers_reload(struct workers *w)
{
	workers_send_command(w, (struct worker_command){ .kind = COMMAND_RELOAD });
}

void workers_drain(struct workers *w, unsigned ms)
{
	/* The workers update the counts later.  Until then each counts as one that has sessions. */
	for (unsigned i = 0; i < w->conf.n; i++)
		atomic_store_explicit(&w->w[i].sessions, 1, memory_order_relaxed);
	workers_send_command(w, (struct worker_command){ .kind = COMMAND_DRAIN, .ms = ms });
}

unsigned workers_sessions(struct workers *w)
{
	unsigned n = 0;

	for (unsigned i = 0; i < w->conf.n; i++)
		n += atomic_load_explicit(&w->w[i].sessions, memory_order_relaxed);
	return n;
}

usec_t workers_turned_at(const struct workers *w)
{
	usec_t oldest = clock_mono();

	for (unsigned i = 0; i < w->conf.n; i++) {
		usec_t at = atomic_load_explicit(&w->w[i].turned_at, memory_order_relaxed);

		/* 0: its timer has not run yet. */
		oldest = at && at < oldest ? at : oldest;
	}
	return oldest;
}

void workers_stop(struct workers *w)
{
	for (unsigned i = 0; i < w->conf.n; i++) {
		struct worker_command *c;

		if (!w->w[i].is_started)
			continue;
		c = xcalloc(1, sizeof(*c));
		c->kind = COMMAND_STOP;
		worker_send_command(&w->w[i], c);
		pthread_join(w->w[i].thread, NULL);
		w->w[i].is_started = false;
	}
}

void workers_free(struct workers *w)
{
	if (!w)
		return;
	for (unsigned i = 0; i < w->conf.n; i++) {
		if (w->w[i].has_handles) /* its thread was never started */
			worker_close_handles(&w->w[i]);
		uv_loop_close(&w->w[i].loop);
		mailbox_release(&w->w[i].messages);
		mailbox_release(&w->w[i].commands);
	}
	pthread_mutex_destroy(&w->start_lock);
	pthread_cond_destroy(&w->start_cond);
	free(w);
}
