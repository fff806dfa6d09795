/* SPDX-License-Identifier: MIT */
#ifndef API_ROUTER_H
#define API_ROUTER_H
/*
 * The way into the HTTP API.  One table has every route of the daemon: method, path, who may call,
 * which rate limit counts it, and what is done.  Paths are the same at the root and below
 * server.path.
 */
#include <stdio.h>
#include "api/request.h"

struct api_services;

/* Completes the table.  Once, before the first request. */
void router_init(void);
/*
 * Handles a request; it is replied to before this returns or later.  services outlives all
 * requests.  Any transport's thread; does not wait.
 */
void router_handle(const struct api_services *services, struct request *r);
/* Most bytes of body that the request's path may have. */
size_t router_body_limit(const struct api_services *services, const struct request *r);
/*
 * Writes a refusal to the log, and its headers, Content-Type and CORS, and body in the form of the
 * request's path.
 */
void router_refusal(const struct api_services *services, const struct request *r,
		    struct refusal *refusal);
/* Prints every route, a line each: method, path, who may call, what it does. */
void router_print(FILE *out);
#endif
