/* SPDX-License-Identifier: MIT */
#ifndef API_SYNC_TABLE_H
#define API_SYNC_TABLE_H
/* What the rows of sync_table.c do; each is defined in h_sync_RESOURCE.c. */
#include "api/sync_call.h"

extern const struct sync_action sync_activities;
extern const struct sync_action sync_activity_add;
extern const struct sync_action sync_activity_read;
extern const struct sync_action sync_events_get;
extern const struct sync_action sync_heartbeat;
extern const struct sync_action sync_online_users;
extern const struct sync_action sync_change_list;
extern const struct sync_action sync_change_post;
extern const struct sync_action sync_lock_acquire;
extern const struct sync_action sync_lock_list;
extern const struct sync_action sync_lock_release;
extern const struct sync_action sync_notifications;
extern const struct sync_action sync_notification_send;
extern const struct sync_action sync_notifications_read;
extern const struct sync_action sync_start_viewing;
extern const struct sync_action sync_stop_viewing;
extern const struct sync_action sync_viewers;
extern const struct sync_action broadcasting_auth;
extern const struct sync_action broadcasting_user_auth;
extern const struct sync_action sync_user_get;
extern const struct sync_action sync_user_put;
extern const struct sync_action sync_version_list;
#endif
