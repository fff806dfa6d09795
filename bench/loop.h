/* SPDX-License-Identifier: MIT */
#ifndef BENCH_LOOP_H
#define BENCH_LOOP_H
/*
 * What epoll hands back: the first member of whatever was registered.
 */
#include <stdint.h>

enum ep_kind { EP_SUBSCRIBER, EP_PUBLISHER, EP_LISTENER, EP_MAILBOX, EP_CONNECTION };

struct ep_item {
	enum ep_kind kind;
	int fd; /* -1 when closed */
};

/* epoll_ctl of item's fd, or die. */
void ep_add(int epoll, struct ep_item *item, uint32_t events);
void ep_change(int epoll, struct ep_item *item, uint32_t events);
#endif
