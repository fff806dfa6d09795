/* SPDX-License-Identifier: MIT */
#ifndef CORE_CHANNELS_PRESENCE_H
#define CORE_CHANNELS_PRESENCE_H
/*
 * The members of one presence channel, and the grace before a member is removed.
 *
 * A user is one member however many connections it has.  After its last connection was lost, the
 * member stays for the app's member_removed_delay_ms: a page that reloads does not leave.  A
 * client that unsubscribes leaves at once.  Join and leave are O(1), also for a member in its
 * grace.
 *
 * In a cluster (is_shared) the members that clients see are those of all nodes, as the database has
 * them: presence_show() and presence_hide().  What this node has is reported and comes back as such
 * a change.  A user is held once it was shown for a connection here: then it is a member as long as
 * it has one, also if the database has lost it.
 *
 * Not locked: the directory calls these functions under the shard's lock.
 */
#include <stdbool.h>
#include "base/annotate.h"
#include "base/clock.h"
#include "base/map.h"
#include "base/msgbuf.h"
#include "base/str.h"

struct presence_user {
	struct presence_user *next, *prev; /* in presence_leaving, while leaving_at is set */
	struct presence *presence;
	char *user_id;
	char *info;	      /* JSON text, or NULL */
	unsigned connections; /* of this node */
	bool is_shown;	      /* it is a member */
	bool is_held;	      /* in a cluster: see above */
	usec_t leaving_at;    /* monotonic, when the grace ends; 0: has connections */
	usec_t lost_until;    /* monotonic, when the grace of its last lost connection ends */
};

struct presence {
	struct map members;    /* user_id -> struct presence_user; some are not shown */
	unsigned n_shown;      /* members */
	bool is_shared;	       /* with other nodes */
	struct msgbuf *roster; /* see presence_roster(); NULL after a change */
};

struct presence_joining {
	struct str_view user_id;
	struct str_view info; /* JSON text; empty when absent */
};

/* The members in their grace, of all channels of a shard. */
struct presence_leaving {
	struct presence_user *first;
};

void presence_init(struct presence *p, bool is_shared);
/* No member may be in a presence_leaving that is used afterwards. */
void presence_release(struct presence *p);
/* What a join did to the list of members. */
enum presence_change {
	PRESENCE_SAME,
	PRESENCE_ADDED,
	PRESENCE_REPLACED, /* the user returned within its grace with another info */
	PRESENCE_REMOVED,
	PRESENCE_LEAVING, /* of presence_leave(): the grace begins */
	PRESENCE_BACK,	  /* of presence_join(), in a cluster: returned within it, with the same */
};
/*
 * Adds a connection of user_id.  While the user has a connection, the info of the first one is
 * kept.  Both are copied.  0 and *change; -EDQUOT when there are max members (0: no limit), and
 * nothing changed.  In a cluster, *change is what this node has to report.
 */
int presence_join(struct presence *p, struct presence_leaving *leaving,
		  const struct presence_joining *who, unsigned max, enum presence_change *change)
	MUSTCHECK;
/*
 * Removes a connection of user_id.  grace: how long the user stays a member without connections;
 * 0: the connection was not lost, and only a grace that runs already counts.  PRESENCE_REMOVED: the
 * user is no member any more; in a cluster: this node has to report that it has no connection.
 */
enum presence_change presence_leave(struct presence *p, struct presence_leaving *leaving,
				    struct str_view user_id, usec_t now, usec_t grace);
/* Unlinks the members whose grace has ended.  The caller passes each to presence_remove(). */
struct presence_user *presence_leaving_expired(struct presence_leaving *leaving, usec_t now)
	MUSTCHECK;
/* Removes and frees m; in a cluster it stays while it is shown. */
void presence_remove(struct presence_user *m);

/* -- in a cluster -- */

/* The user is a member, with this info; is_own: because of its connections here, and is held. */
enum presence_change presence_show(struct presence *p, const struct presence_joining *who,
				   bool is_own);
/* The user is no member, unless it is held. */
enum presence_change presence_hide(struct presence *p, struct str_view user_id);
/* The user has a connection here and is a member because of it, also if the other nodes do not know
 * it; the info of one who is a member already stays. */
enum presence_change presence_hold(struct presence *p, const struct presence_joining *who);
/* Whether the user is a member because of its connections here. */
bool presence_is_held(const struct presence *p, struct str_view user_id);

/* The data of subscription_succeeded as JSON text, referenced.  Built once after each change. */
struct msgbuf *presence_roster(struct presence *p) MUSTCHECK;
#endif
