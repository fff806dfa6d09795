/* SPDX-License-Identifier: MIT */
#ifndef API_HANDLERS_H
#define API_HANDLERS_H
/* What the rows of the router's table do; each is defined in the file of its resource. */
#include "api/call.h"

void h_events_post(struct call *c);
void h_events_post_batch(struct call *c);
void h_events_post_channel(struct call *c);
void h_events_post_user(struct call *c);
void h_channels_list(struct call *c);
void h_channels_get(struct call *c);
void h_channels_users(struct call *c);
void h_users_terminate(struct call *c);
void h_users_revoke(struct call *c);
void h_status_up(struct call *c);
void h_status_ready(struct call *c);
void h_status_connections(struct call *c);
void h_status_websocket(struct call *c);
void h_demo_root(struct call *c);
void h_demo_file(struct call *c);
void h_demo_config(struct call *c);
void h_demo_auth(struct call *c);
void h_demo_publish(struct call *c);
/* Makes the demo's application the call's, and its server the caller; false: replied. */
bool demo_identify(struct call *c) MUSTCHECK;

extern struct sync_action sync_activities;
extern struct sync_action sync_activities_delete;
extern struct sync_action sync_activities_import;
extern struct sync_action sync_activity_add;
extern struct sync_action sync_activity_read;
extern struct sync_action sync_change_list;
extern struct sync_action sync_change_post;
extern struct sync_action sync_events_get;
extern struct sync_action sync_heartbeat;
extern struct sync_action sync_lock_acquire;
extern struct sync_action sync_lock_grant;
extern struct sync_action sync_lock_list;
extern struct sync_action sync_lock_refuse;
extern struct sync_action sync_lock_release;
extern struct sync_action sync_lock_request;
extern struct sync_action sync_lock_steal;
extern struct sync_action sync_may;
extern struct sync_action sync_notification_counts;
extern struct sync_action sync_notification_send;
extern struct sync_action sync_notifications;
extern struct sync_action sync_notifications_delete;
extern struct sync_action sync_notifications_read;
extern struct sync_action sync_notifications_unread;
extern struct sync_action sync_online_users;
extern struct sync_action sync_rules;
extern struct sync_action sync_rule_put;
extern struct sync_action sync_rule_delete;
extern struct sync_action sync_start_viewing;
extern struct sync_action sync_stop_viewing;
extern struct sync_action sync_user_get;
extern struct sync_action sync_user_put;
extern struct sync_action sync_users_put;
extern struct sync_action sync_users_list;
extern struct sync_action sync_user_delete;
extern struct sync_action sync_version_list;
extern struct sync_action sync_viewers;
extern struct sync_action broadcasting_auth;
extern struct sync_action broadcasting_user_auth;
#endif
