/* SPDX-License-Identifier: MIT */
/* What the epoll loops of the programs share. */
#include "loop.h"

#include <errno.h>
#include <sys/epoll.h>
#include "util.h"

static void ep_ctl(int epoll, int op, struct ep_item *item, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = item };

	if (epoll_ctl(epoll, op, item->fd, &ev))
		die("epoll_ctl: %s", strerror(errno));
}

void ep_add(int epoll, struct ep_item *item, uint32_t events)
{
	ep_ctl(epoll, EPOLL_CTL_ADD, item, events);
}

void ep_change(int epoll, struct ep_item *item, uint32_t events)
{
	ep_ctl(epoll, EPOLL_CTL_MOD, item, events);
}
