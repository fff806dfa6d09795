/* SPDX-License-Identifier: MIT */
#ifndef WIRE_CHANNEL_NAME_H
#define WIRE_CHANNEL_NAME_H
/*
 * Grammar and kinds of channel (protocol A4, A8).  Prefixes are anchored and include
 * their dash: "privateer" is public.
 */
#include <stdbool.h>
#include "base/metric.h"
#include "base/str.h"

struct channel_traits {
	bool is_guarded;   /* private- or presence-: a subscription carries a signature */
	bool is_presence;  /* presence-, presence-cache- */
	bool is_encrypted; /* private-encrypted-, private-encrypted-cache- */
	bool is_cache;	   /* cache-, private-cache-, presence-cache-, private-encrypted-cache- */
	bool is_user;	   /* #server-to-user-ID */
	struct str_view user_id; /* ID when is_user; a view into the name */
};

#define USER_CHANNEL_PREFIX "#server-to-user-"

/* 0 and *out set; -EINVAL: empty, a byte outside the grammar or a '#' that is not a user channel;
 * -ENAMETOOLONG. */
int channel_name_parse(struct str_view name, size_t max_bytes, struct channel_traits *out)
	MUSTCHECK;
/* By the prefix alone: the name may be invalid otherwise. */
bool channel_name_is_encrypted(struct str_view name);
/* fnmatch-like: '*' matches any run of bytes; everything else itself.  Linear in practice, no
 * recursion. */
bool channel_pattern_match(struct str_view pattern, struct str_view name);
/* For metrics: the most special of what it is. */
enum metric_channel_type channel_metric_type(struct channel_traits t);
#endif
