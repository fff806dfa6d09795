/* SPDX-License-Identifier: MIT */
#ifndef CLUSTER_CHANGE_H
#define CLUSTER_CHANGE_H
/*
 * A change to the members of one channel in the whole cluster, as the database decided it, and its
 * form in a message between nodes.
 */
#include <stdbool.h>
#include <stdint.h>
#include "base/annotate.h"
#include "base/str.h"

enum change_outcome {
	CHANGE_NONE, /* the user is, or is not, there on another node too */
	CHANGE_ADDED,
	CHANGE_REMOVED,
	CHANGE_REPLACED, /* back with another info */
	CHANGE_COUNTED,	 /* another number of subscriptions */
	CHANGE_FULL,	 /* the channel has too many members: the user was not added */
	CHANGE_GONE,	 /* the user left, and the database had them on no node */
};

/* The views belong to the sender, or to the text that it was read from. */
struct change {
	enum change_outcome outcome;
	uint64_t before, version; /* before and after: of the members, or of the subscriptions */
	struct str_view user_id;  /* empty: of the channel's subscriptions */
	struct str_view info;	  /* JSON text, empty when absent; or the number of subscriptions */
};

/* The outcome's name in the database. */
enum change_outcome change_outcome_of(struct str_view name);
void change_write(struct strbuf *out, const struct change *c);
/* The number of subscriptions in it. */
unsigned change_total(const struct change *c);
/* False: the text is malformed. */
bool change_read(struct str_view text, struct change *out) MUSTCHECK;
#endif
