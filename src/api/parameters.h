/* SPDX-License-Identifier: MIT */
#ifndef API_PARAMETERS_H
#define API_PARAMETERS_H
/* Parameters that several Pusher routes have. */
#include "api/call.h"

/* Attributes of the parameter "info". */
enum call_info { INFO_USER_COUNT = 1, INFO_SUBSCRIPTION_COUNT = 2, INFO_CACHE = 4 };

/* Reads "user_count,subscription_count"; false: replied 400. */
bool parameters_read_info(struct call *c, struct str_view text, unsigned *out) MUSTCHECK;
/* A channel's name within the app's limit; false: replied 400. */
bool parameters_read_channel(struct call *c, struct str_view name, struct channel_traits *out)
	MUSTCHECK;
/* "socket_id"; 0 for an empty text.  False: replied 400. */
bool parameters_read_socket(struct call *c, struct str_view text, uint64_t *out) MUSTCHECK;
#endif
