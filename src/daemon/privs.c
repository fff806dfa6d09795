/* SPDX-License-Identifier: MIT */
/* What a start as root gives up, and the limit of open files.  Main thread, before others start. */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <sys/resource.h>
#include <unistd.h>
#include "base/mem.h"
#include "daemon/privs.h"

/* libwebsockets sizes its tables by the limit, and takes 2,560 when it reads as infinite. */
#define OPEN_FILES_MAX 1048576

unsigned privs_raise_open_files(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r))
		return 1024;
	if (r.rlim_max > OPEN_FILES_MAX)
		r.rlim_max = OPEN_FILES_MAX;
	r.rlim_cur = r.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &r))
		getrlimit(RLIMIT_NOFILE, &r);
	return (unsigned)r.rlim_cur;
}

int privs_become(const char *user, char **why)
{
	struct passwd pw, *found = NULL;
	char room[4096];
	int rc = getpwnam_r(user, &pw, room, sizeof(room), &found);

	if (!found) {
		if (asprintf(why, "server.user: there is no user %s on this machine", user) < 0)
			*why = NULL;
		return rc ? -rc : -ENOENT;
	}
	if (initgroups(user, pw.pw_gid) || setgid(pw.pw_gid) || setuid(pw.pw_uid)) {
		rc = -errno;
		if (asprintf(why, "server.user: cannot become %s; start as root or leave it empty",
			     user) < 0)
			*why = NULL;
		return rc;
	}
	return 0;
}
