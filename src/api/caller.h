/* SPDX-License-Identifier: MIT */
#ifndef API_CALLER_H
#define API_CALLER_H
#include "api/call.h"

/*
 * Identifies the caller from the credentials of the request: sets app and caller.  Then checks that
 * the app may be used this way and that the route is open to this caller.  False: replied 401, 403
 * or 404.
 */
bool caller_identify(struct call *c) MUSTCHECK;
#endif
