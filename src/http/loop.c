/* SPDX-License-Identifier: MIT */
/*
 * The library's own thread (0.9.75) requests 128 events of epoll; when it got exactly as many, it
 * waits again with the same timeout before it handles any, and they wait until something else
 * happens.  So it is only ever run without a timeout, and the waiting is done here, by poll(2) on
 * its epoll descriptor.
 *
 * Without a thread of its own the library has no channel to be woken by either: a connection that
 * another thread resumed would get no response.  Hence the mailbox, which also joins the wake-ups
 * of many resumptions: a sender wakes the thread only while it is idle.
 *
 * http_loop_post() runs on any thread, the rest on the http thread, start and stop on main.
 */
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include "base/mem.h"
#include "base/thread.h"
#include "base/wake.h"
#include "http/loop.h"
#include "svc/admission.h"

struct http_loop {
	struct MHD_Daemon *mhd;
	struct admission *admission; /* NULL: none */
	pthread_t thread;
	struct mailbox box;
	struct wake wake;
	int epoll_fd;
	atomic_bool is_idle; /* a sender has to wake the thread */
	atomic_bool is_stopping;
};

void http_loop_post(struct http_loop *l, struct loop_call *call)
{
	/* the box is not closed while it has senders */
	if (mailbox_put_owed(&l->box, &call->entry) == 1 && atomic_load(&l->is_idle))
		wake_signal(&l->wake);
}

/* True when there were any. */
static bool loop_make_calls(struct http_loop *l) RUNS_ON(on_http)
{
	struct mailbox_entry *next, *e = mailbox_take(&l->box);
	bool any = e != NULL;

	for (; e; e = next) {
		struct loop_call *call = CONTAINER_OF(e, struct loop_call, entry);

		next = e->next;
		call->fn(call);
	}
	return any;
}

/* Waits until the library has something to do or another thread posts a call. */
static void loop_wait(struct http_loop *l) RUNS_ON(on_http)
{
	struct pollfd fds[] = { { .fd = l->epoll_fd, .events = POLLIN },
				{ .fd = wake_fd(&l->wake), .events = POLLIN },
				{ .fd = -1, .events = POLLIN } };
	MHD_UNSIGNED_LONG_LONG ms;
	int timeout = -1;

	if (l->admission) {
		timeout = admission_run(l->admission);
		fds[2].fd = admission_fd(l->admission);
	}
	if (MHD_get_timeout(l->mhd, &ms) == MHD_YES &&
	    (timeout < 0 || ms < (MHD_UNSIGNED_LONG_LONG)timeout))
		timeout = ms > INT_MAX ? INT_MAX : (int)ms;
	if (!timeout)
		return;
	atomic_store(&l->is_idle, true);
	/* from here on senders wake this thread */
	if (!loop_make_calls(l) && !atomic_load(&l->is_stopping) &&
	    poll(fds, ARRAY_SIZE(fds), timeout) > 0) {
		if (fds[1].revents)
			wake_drain(&l->wake);
		if (fds[2].revents)
			admission_woken(l->admission);
	}
	atomic_store(&l->is_idle, false);
}

static void *loop_run(void *arg)
{
	struct http_loop *l = arg;

	ASSERT_ON(on_http);
	while (!atomic_load(&l->is_stopping)) {
		loop_make_calls(l);
		MHD_run_wait(l->mhd, 0);
		loop_wait(l);
	}
	loop_make_calls(l);
	MHD_stop_daemon(l->mhd);
	return NULL;
}

static void loop_free(struct http_loop *l)
{
	wake_release(&l->wake);
	mailbox_release(&l->box);
	free(l);
}

int http_loop_start(struct MHD_Daemon *mhd, const char *name, struct admission *admission,
		    struct http_loop **out)
{
	struct http_loop *l = xcalloc(1, sizeof(*l));
	int rc;

	l->mhd = mhd;
	l->admission = admission;
	l->epoll_fd = MHD_get_daemon_info(mhd, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
	mailbox_init(&l->box, 0);
	rc = wake_init(&l->wake);
	if (!rc)
		rc = thread_start(&l->thread, name, &on_http, loop_run, l);
	if (rc)
		loop_free(l);
	else
		*out = l;
	return rc;
}

void http_loop_stop(struct http_loop *l)
{
	if (!l)
		return;
	atomic_store(&l->is_stopping, true);
	wake_signal(&l->wake);
	pthread_join(l->thread, NULL);
	loop_free(l);
}
