/* SPDX-License-Identifier: MIT */
/* CPU time and memory of the server, from /proc and its process clock. */
#include "proc.h"

#include <time.h>
#include <unistd.h>
#include "util.h"

static FILE *open_of(pid_t pid, const char *name)
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	f = fopen(path, "re");
	if (!f)
		die("%s: the process has ended", path);
	return f;
}

/* Fields 14 and 15; the name in field 2 may hold spaces, so count from its ')'. */
static uint64_t stat_cpu_ns(pid_t pid)
{
	char line[1024];
	unsigned long utime, stime;
	FILE *f = open_of(pid, "stat");
	size_t n = fread(line, 1, sizeof(line) - 1, f);
	const char *rest;

	fclose(f);
	line[n] = '\0';
	rest = strrchr(line, ')');
	if (!rest || sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &utime,
			    &stime) != 2)
		die("/proc/%d/stat: not understood", (int)pid);
	return (uint64_t)(utime + stime) * (NSEC_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK));
}

uint64_t proc_cpu_ns(pid_t pid)
{
	struct timespec ts;
	clockid_t clock;

	if (pid == 0)
		return 0;
	if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &ts))
		return stat_cpu_ns(pid);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

uint64_t proc_rss_kib(pid_t pid)
{
	char line[256];
	unsigned long kib = 0;
	FILE *f;

	if (pid == 0)
		return 0;
	f = open_of(pid, "status");
	while (fgets(line, sizeof(line), f) && sscanf(line, "VmRSS: %lu", &kib) != 1)
		;
	fclose(f);
	return kib;
}
