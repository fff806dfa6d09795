/* SPDX-License-Identifier: MIT */
#ifndef API_RATES_H
#define API_RATES_H
/* The rates of a call's application and of its user. */
#include "api/call.h"

/* Takes n events from the app's rate; false: replied 429. */
bool rates_take_events(struct call *c, unsigned n) MUSTCHECK;
/* Takes one request from the app's rate of reads; false: replied 429. */
bool rates_take_read(struct call *c) MUSTCHECK;
/*
 * Takes an action's call from the quotas of the application and the user; false: replied 429.
 * sync_call_free() gives it back.
 */
bool rates_take_quota(struct call *c) MUSTCHECK;
/* A user's call counts as n requests more than one; false: replied 429, and the call is freed. */
bool rates_take_more(struct sync_call *sc, unsigned n) MUSTCHECK;
#endif
