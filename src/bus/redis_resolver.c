/* SPDX-License-Identifier: MIT */
/*
 * The thread and its starter have a reference each; the last one frees.  The thread
 * writes the answer, sets is_done, and closes its end of a pipe, which makes the other end
 * readable.
 */
#include <fcntl.h>
#include <netdb.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/thread.h"
#include "bus/redis_resolver.h"

struct thread_role on_resolver = { "resolver" };

struct redis_resolver {
	char *host, *port;
	atomic_uint references;
	atomic_bool is_done;
	int from, to;		/* the pipe's ends; to is the thread's own */
	int error;		/* of getaddrinfo() */
	struct addrinfo *found; /* NULL: it was taken */
};

void redis_resolver_drop(struct redis_resolver *r)
{
	if (!r || atomic_fetch_sub(&r->references, 1) > 1)
		return;
	if (r->found)
		freeaddrinfo(r->found);
	close(r->from);
	free(r->host);
	free(r->port);
	free(r);
}

static void *redis_resolver_run(void *arg)
{
	const struct addrinfo hints = { .ai_family = AF_UNSPEC,
					.ai_socktype = SOCK_STREAM,
					.ai_flags = AI_NUMERICSERV };
	struct redis_resolver *r = arg;

	r->error = getaddrinfo(r->host, r->port, &hints, &r->found);
	if (r->error)
		r->found = NULL;
	atomic_store(&r->is_done, true);
	close(r->to);
	redis_resolver_drop(r);
	return NULL;
}

struct redis_resolver *redis_resolver_start(const char *host, const char *port)
{
	struct redis_resolver *r;
	pthread_t thread;
	int ends[2];

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK))
		return NULL;
	r = xcalloc(1, sizeof(*r));
	r->host = xstrdup(host);
	r->port = xstrdup(port);
	r->from = ends[0];
	r->to = ends[1];
	atomic_init(&r->references, 2);
	if (thread_start(&thread, "resolver", &on_resolver, redis_resolver_run, r)) {
		close(r->to);
		atomic_store(&r->references, 1);
		redis_resolver_drop(r);
		return NULL;
	}
	pthread_detach(thread);
	return r;
}

int redis_resolver_fd(const struct redis_resolver *r)
{
	return r->from;
}

int redis_resolver_take(struct redis_resolver *r, struct addrinfo **out)
{
	if (!atomic_load(&r->is_done))
		return EAI_AGAIN;
	*out = r->found;
	r->found = NULL;
	return r->error;
}
