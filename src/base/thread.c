/* SPDX-License-Identifier: MIT */
/*
 * The role of a thread is in a thread-local variable, set once at its start.  All signals are
 * blocked in threads that start here: the main thread reads them from a signalfd.
 */
#include <signal.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/thread.h"

struct thread_role on_main = { "main" }, on_worker = { "worker" }, on_http = { "http" },
		   on_db = { "db" }, on_pool = { "db pool" }, on_connector = { "db connector" },
		   on_front = { "front" }, on_webhook = { "webhooks" };

static _Thread_local const struct thread_role *my_role;

struct start {
	void *(*fn)(void *);
	void *arg;
	const struct thread_role *role;
	char name[16];
};

void thread_take_role(const struct thread_role *role)
{
	my_role = role;
}

void thread_assert_on(struct thread_role *role)
{
	if (my_role == role)
		return;
	log_error("a function of the %s thread was called on %s", role->name,
		  my_role ? my_role->name : "a thread without a role");
	abort();
}

static void *thread_run(void *p)
{
	struct start s = *(struct start *)p;

	free(p);
	thread_take_role(s.role);
	pthread_setname_np(pthread_self(), s.name);
	return s.fn(s.arg);
}

int thread_start(pthread_t *t, const char *name, const struct thread_role *role,
		 void *(*fn)(void *), void *arg)
{
	struct start *s = xcalloc(1, sizeof(*s));
	sigset_t all, old;
	int rc;

	*s = (struct start){ .fn = fn, .arg = arg, .role = role };
	snprintf(s->name, sizeof(s->name), "%s", name);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(t, NULL, thread_run, s);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc)
		free(s);
	return -rc;
}
