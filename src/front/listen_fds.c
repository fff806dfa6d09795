/* SPDX-License-Identifier: MIT */
/*
 * Listening sockets that a service manager passes (sd_listen_fds(3)).  Called once at start, before
 * any thread exists, because it changes the environment.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/annotate.h"
#include "base/str.h"
#include "front/listen_fds.h"

#define FIRST_FD 3 /* SD_LISTEN_FDS_START */
#define FDS_MAX	 16

unsigned listen_fds_take(int *first)
{
	uint64_t pid, n = 0;

	/* Another pid: the sockets are for another process, such as a shell that started this one.
	 */
	if (!sv_to_u64(sv(getenv("LISTEN_PID")), INT_MAX, &pid) || (pid_t)pid != getpid() ||
	    !sv_to_u64(sv(getenv("LISTEN_FDS")), FDS_MAX, &n))
		n = 0;
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	for (int fd = FIRST_FD; fd < FIRST_FD + (int)n; fd++)
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) || fcntl(fd, F_SETFL, O_NONBLOCK))
			return 0;
	*first = FIRST_FD;
	return (unsigned)n;
}
