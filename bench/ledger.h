/* SPDX-License-Identifier: MIT */
#ifndef BENCH_LEDGER_H
#define BENCH_LEDGER_H
/*
 * Who got what, exactly: for each subscriber and publisher the next number expected,
 * and the set of numbers that were jumped over.  A jumped number that comes later was
 * out of order; one that never comes is lost; any other that is not new is a repeat.
 *
 * Numbers count from 0 for each publisher and channel.  One step when all is well.
 */
#include <stdint.h>

struct ledger;

struct ledger_sum {
	uint64_t received; /* each number once */
	uint64_t repeated;
	uint64_t out_of_order;
	uint64_t lost;
};

struct ledger *ledger_new(uint32_t subscribers, uint32_t publishers);
void ledger_free(struct ledger *l);
void ledger_got(struct ledger *l, uint32_t subscriber, uint32_t publisher, uint32_t seq);
/* Numbers 0 to published-1 were sent to this subscriber by this publisher: counts the lost. */
void ledger_close(struct ledger *l, uint32_t subscriber, uint32_t publisher, uint32_t published);
const struct ledger_sum *ledger_sum(const struct ledger *l);
#endif
