/* SPDX-License-Identifier: MIT */
/*
 * The sync API as one table: method, path behind the mount, who may call, what is done.  SDKs that
 * sign can send GET and POST only, so what is a PUT or a DELETE has a POST beside it.
 */
#include "base/mem.h"
#include "api/sync_table.h"

const struct sync_route sync_routes[] = {
	{ "GET", "activities", BY_BOTH, &sync_activities },
	{ "POST", "activities", BY_BOTH, &sync_activity_add },
	{ "POST", "activities/read", BY_BOTH, &sync_activity_read },
	{ "GET", "events", BY_BOTH, &sync_events_get },
	{ "POST", "heartbeat", BY_BOTH, &sync_heartbeat },
	{ "GET", "online-users", BY_BOTH, &sync_online_users },
	{ "GET", "changes", BY_BOTH, &sync_change_list },
	{ "POST", "changes", BY_BOTH, &sync_change_post },
	{ "GET", "locks", BY_BOTH, &sync_lock_list },
	{ "POST", "locks", BY_BOTH, &sync_lock_acquire },
	{ "DELETE", "locks", BY_BOTH, &sync_lock_release },
	{ "POST", "locks/release", BY_BOTH, &sync_lock_release },
	{ "GET", "notifications", BY_BOTH, &sync_notifications },
	{ "POST", "notifications", BY_SERVER, &sync_notification_send },
	{ "POST", "notifications/read", BY_BOTH, &sync_notifications_read },
	{ "POST", "start-viewing", BY_BOTH, &sync_start_viewing },
	{ "POST", "stop-viewing", BY_BOTH, &sync_stop_viewing },
	{ "GET", "viewers", BY_BOTH, &sync_viewers },
	{ "POST", "/broadcasting/auth", BY_USER, &broadcasting_auth },
	{ "POST", "/broadcasting/user-auth", BY_USER, &broadcasting_user_auth },

	{ "GET", "users/{}", BY_BOTH, &sync_user_get },
	{ "PUT", "users/{}", BY_SERVER, &sync_user_put },
	{ "POST", "users/{}", BY_SERVER, &sync_user_put },
	{ "GET", "versions", BY_BOTH, &sync_version_list },
};
const size_t n_sync_routes = ARRAY_SIZE(sync_routes);
