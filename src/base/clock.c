/* SPDX-License-Identifier: MIT */
/* Both clocks are read through the vDSO: no system call. */
#include "base/annotate.h"
#include "base/clock.h"

static usec_t (*mono_source)(void);

static usec_t read_clock(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (usec_t)ts.tv_sec * USEC_PER_SEC + ts.tv_nsec / 1000;
}

usec_t clock_mono(void)
{
	return mono_source ? mono_source() : read_clock(CLOCK_MONOTONIC);
}

void clock_set_source(usec_t (*mono)(void))
{
	mono_source = mono;
}

usec_t clock_wall(void)
{
	return read_clock(CLOCK_REALTIME);
}

char *clock_iso(usec_t wall, char out[CLOCK_ISO_SIZE])
{
	time_t secs = (time_t)(wall / USEC_PER_SEC);
	unsigned ms = (unsigned)(wall % USEC_PER_SEC / USEC_PER_MSEC) % 1000;
	char head[20];
	struct tm tm;

	gmtime_r(&secs, &tm);
	strftime(head, sizeof(head), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out, CLOCK_ISO_SIZE, "%s.%03uZ", head, ms);
	return out;
}
