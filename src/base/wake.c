/* SPDX-License-Identifier: MIT */
/*
 * The file descriptor is stored plus one, so that a zeroed struct has none.  write(2) fails only
 * when the eventfd's counter is full, and then the descriptor is readable already.
 */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/wake.h"

int wake_init(struct wake *w)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (fd < 0)
		return -errno;
	w->fd_plus_1 = fd + 1;
	return 0;
}

void wake_release(struct wake *w)
{
	if (w->fd_plus_1)
		close(wake_fd(w));
	w->fd_plus_1 = 0;
}

int wake_fd(const struct wake *w)
{
	return w->fd_plus_1 - 1;
}

void wake_signal(struct wake *w)
{
	uint64_t one = 1;

	if (write(wake_fd(w), &one, sizeof(one)) < 0)
		return;
}

void wake_drain(struct wake *w)
{
	uint64_t n;

	/* One read empties the counter. */
	if (read(wake_fd(w), &n, sizeof(n)) < 0)
		return;
}

bool wake_wait(struct wake *w, int ms)
{
	struct pollfd p = { .fd = wake_fd(w), .events = POLLIN };

	if (poll(&p, 1, ms) <= 0)
		return false;
	wake_drain(w);
	return true;
}
