/* SPDX-License-Identifier: MIT */
/*
 * The library's own thread (0.9.75) asks epoll for 128 events; having got exactly as many, it asks
 * again with the same timeout before it looks at any, and they wait until something else happens.
 * So it is only ever run without a timeout, and the waiting is done here, by poll(2) on its epoll
 * descriptor.
 *
 * Without a thread of its own the library has no channel to be woken by either: a connection that
 * another thread resumed would stay unanswered.  Hence the mailbox, which also makes one waking of
 * many resumptions: a sender wakes the thread only when it rests.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include "base/mem.h"
#include "base/thread.h"
#include "base/wake.h"
#include "http/loop.h"

struct http_loop {
	struct MHD_Daemon *mhd;
	pthread_t thread;
	struct mailbox box;
	struct wake wake;
	int epoll_fd;
	atomic_bool resting; /* who posts has to wake the thread */
	atomic_bool stopping;
};

void http_loop_post(struct http_loop *l, struct loop_call *call)
{
	/* the box is not closed before its senders are gone */
	if (mailbox_put_owed(&l->box, &call->letter) == 1 && atomic_load(&l->resting))
		wake_signal(&l->wake);
}

/* True when there were any. */
static bool loop_make_calls(struct http_loop *l)
{
	struct letter *next, *letter = mailbox_take(&l->box);
	bool any = letter != NULL;

	for (; letter; letter = next) {
		struct loop_call *call = CONTAINER_OF(letter, struct loop_call, letter);

		next = letter->next;
		call->fn(call);
	}
	return any;
}

/* How long the library can wait; -1: for ever. */
static int loop_timeout_ms(struct http_loop *l)
{
	MHD_UNSIGNED_LONG_LONG ms;

	if (MHD_get_timeout(l->mhd, &ms) != MHD_YES)
		return -1;
	return ms > INT_MAX ? INT_MAX : (int)ms;
}

static void loop_poll(struct http_loop *l, int ms)
{
	struct pollfd fds[] = { { .fd = l->epoll_fd, .events = POLLIN },
				{ .fd = wake_fd(&l->wake), .events = POLLIN } };

	if (poll(fds, ARRAY_SIZE(fds), ms) > 0 && fds[1].revents)
		wake_drain(&l->wake);
}

static void loop_wait(struct http_loop *l)
{
	int ms = loop_timeout_ms(l);

	if (!ms)
		return;
	atomic_store(&l->resting, true);
	/* Whoever posts from here on wakes us. */
	if (!loop_make_calls(l) && !atomic_load(&l->stopping))
		loop_poll(l, ms);
	atomic_store(&l->resting, false);
}

static void *loop_run(void *arg)
{
	struct http_loop *l = arg;

	while (!atomic_load(&l->stopping)) {
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

int http_loop_start(struct MHD_Daemon *mhd, struct http_loop **out)
{
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(mhd, MHD_DAEMON_INFO_EPOLL_FD);
	struct http_loop *l = xcalloc(1, sizeof(*l));
	int rc = wake_init(&l->wake);

	l->mhd = mhd;
	l->epoll_fd = info->epoll_fd;
	mailbox_init(&l->box, 0);
	if (rc == 0)
		rc = thread_start(&l->thread, "http", &on_http, loop_run, l);
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
	atomic_store(&l->stopping, true);
	wake_signal(&l->wake);
	pthread_join(l->thread, NULL);
	loop_free(l);
}
