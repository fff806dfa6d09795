/* SPDX-License-Identifier: MIT */
/* The variables are read once; all of it runs on the main thread. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/log.h"
#include "base/str.h"
#include "daemon/service_manager.h"

static struct {
	int fd;		    /* datagram socket, connected; -1: no manager listens */
	usec_t watchdog_us; /* 0: no watchdog */
	usec_t watchdog_at; /* mono; of the last message to it */
	bool is_failing;
} manager OWNED_BY(on_main) = { .fd = -1 };

/* An address that starts with '@' is abstract: unix(7). */
static int service_manager_connect(const char *path)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	size_t n = strlen(path);
	int fd;

	if ((path[0] != '/' && path[0] != '@') || n < 2 || n >= sizeof(to.sun_path)) {
		log_warn("NOTIFY_SOCKET is not the path of a socket; the service manager is not "
			 "notified");
		return -1;
	}
	memcpy(to.sun_path, path, n);
	if (path[0] == '@')
		to.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&to,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n))) {
		log_warn("the service manager cannot be notified at %s: %s", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

void service_manager_take(void)
{
	const char *path = getenv("NOTIFY_SOCKET"), *pid = getenv("WATCHDOG_PID");
	uint64_t us = 0, who = 0;

	if (path)
		manager.fd = service_manager_connect(path);
	if (sv_to_u64(sv(getenv("WATCHDOG_USEC")), INT64_MAX, &us) &&
	    (!pid || (sv_to_u64(sv(pid), INT_MAX, &who) && (pid_t)who == getpid())))
		manager.watchdog_us = (usec_t)us;
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

static void service_manager_send(struct str_view state) RUNS_ON(on_main)
{
	bool is_sent;

	if (manager.fd < 0)
		return;
	is_sent = send(manager.fd, state.ptr, state.len, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
	if (!is_sent && !manager.is_failing)
		log_warn("the service manager was not notified: %s", strerror(errno));
	manager.is_failing = !is_sent;
}

void service_manager_ready(void)
{
	service_manager_send(SV("READY=1\nSTATUS=Serving clients"));
}

void service_manager_reloading(void)
{
	struct strbuf b;

	strbuf_init(&b, 64);
	strbuf_addf(&b, "RELOADING=1\nMONOTONIC_USEC=%" PRId64 "\nSTATUS=Reading the configuration",
		    clock_mono());
	service_manager_send(strbuf_view(&b));
	strbuf_release(&b);
}

void service_manager_stopping(void)
{
	service_manager_send(SV("STOPPING=1\nSTATUS=Sending the clients away"));
}

void service_manager_watchdog(usec_t now, usec_t turned_at)
{
	usec_t half = manager.watchdog_us / 2;

	if (!half || now - manager.watchdog_at < half || now - turned_at > half)
		return;
	manager.watchdog_at = now;
	service_manager_send(SV("WATCHDOG=1"));
}
