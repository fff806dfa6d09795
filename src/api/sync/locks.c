/* SPDX-License-Identifier: MIT */
/* Edit locks: locks, locks/release, and those that give a lock to another user.  The rules are
 * sync_lock_...() in 0018_edit_locks.sql and 0026_lock_requests.sql. */
#include "base/mem.h"
#include "svc/socket_ties.h"
#include "api/handlers.h"
#include "api/reply.h"
#include "api/statement.h"

#define TOKEN_MAX INT64_MAX

/* clang-format off */
#define LOCK                                                                       \
	{ .name = "resource_type", .type = FIELD_ID, .flags = FIELD_REQUIRED },    \
	{ .name = "resource_id", .type = FIELD_ID, .flags = FIELD_REQUIRED },      \
	{ .name = "field", .type = FIELD_TEXT, .min = 1, .max = 64 }
#define TTL                                                                        \
	{ .name = "ttl", .type = FIELD_INT, .min = 1, .max = 3600, .fallback = "150" }
/* clang-format on */

/* Also of a default, which has no number. */
static unsigned lock_seconds(const struct sync_value *v)
{
	return (unsigned)strtoul(v->text, NULL, 10);
}

enum {
	ACQUIRE_TYPE,
	ACQUIRE_ID,
	ACQUIRE_FIELD,
	ACQUIRE_USER_ID,
	ACQUIRE_TTL,
	ACQUIRE_TOKEN,
	ACQUIRE_SOCKET_ID,
	ACQUIRE_FIELDS
};

static const struct sync_field acquire_fields[ACQUIRE_FIELDS] = {
	LOCK, /* ACQUIRE_TYPE, ACQUIRE_ID, ACQUIRE_FIELD */
	[ACQUIRE_USER_ID] = { .name = "user_id", .type = FIELD_USER, .flags = FIELD_REQUIRED },
	[ACQUIRE_TTL] = TTL,
	[ACQUIRE_TOKEN] = { .name = "token", .type = FIELD_INT, .min = 1, .max = TOKEN_MAX },
	[ACQUIRE_SOCKET_ID] = { .name = "socket_id",
				.type = FIELD_SOCKET,
				.flags = FIELD_OWN | FIELD_OPEN },
};

/* The lock is stored; its socket may have closed meanwhile. */
static void lock_acquired(const struct sync_call *sc)
{
	const struct sync_value *socket_id = &sc->values[ACQUIRE_SOCKET_ID];

	if (socket_id->text)
		socket_ties_watch(sc->call.services->ties, sc->call.app, socket_id->socket_id,
				  lock_seconds(&sc->values[ACQUIRE_TTL]));
}

struct sync_action sync_lock_acquire = {
	.fields = acquire_fields,
	.n_fields = ACQUIRE_FIELDS,
	.function = "sync_lock_acquire",
	.is_repeatable = true,
	.done = lock_acquired,
};

static const struct sync_field release_fields[] = {
	LOCK,
	{ .name = "user_id", .type = FIELD_USER },
	{ .name = "token", .type = FIELD_INT, .min = 1, .max = TOKEN_MAX },
	{ .name = "force", .type = FIELD_BOOL, .fallback = "false" },
	{ .name = "socket_id", .type = FIELD_SOCKET, .flags = FIELD_OWN },
};

struct sync_action sync_lock_release = {
	.fields = release_fields,
	.n_fields = ARRAY_SIZE(release_fields),
	.function = "sync_lock_release",
	.is_repeatable = true,
};

enum {
	REQUEST_TYPE,
	REQUEST_ID,
	REQUEST_FIELD,
	REQUEST_USER_ID,
	REQUEST_TTL,
	REQUEST_WAIT,
	REQUEST_SOCKET_ID,
	REQUEST_FIELDS
};

static const struct sync_field request_fields[REQUEST_FIELDS] = {
	LOCK, /* REQUEST_TYPE, REQUEST_ID, REQUEST_FIELD */
	[REQUEST_USER_ID] = { .name = "user_id", .type = FIELD_USER, .flags = FIELD_REQUIRED },
	[REQUEST_TTL] = TTL,
	[REQUEST_WAIT] = { .name = "wait",
			   .type = FIELD_INT,
			   .min = 1,
			   .max = 300,
			   .fallback = "30" },
	[REQUEST_SOCKET_ID] = { .name = "socket_id",
				.type = FIELD_SOCKET,
				.flags = FIELD_OWN | FIELD_OPEN },
};

/* The request ends with the socket, and so does the lock that is granted before the request
 * expires. */
static void lock_requested(const struct sync_call *sc)
{
	const struct sync_value *socket_id = &sc->values[REQUEST_SOCKET_ID];

	if (socket_id->text)
		socket_ties_watch(sc->call.services->ties, sc->call.app, socket_id->socket_id,
				  lock_seconds(&sc->values[REQUEST_WAIT]) +
					  lock_seconds(&sc->values[REQUEST_TTL]));
}

struct sync_action sync_lock_request = {
	.fields = request_fields,
	.n_fields = REQUEST_FIELDS,
	.function = "sync_lock_request",
	.is_repeatable = true,
	.done = lock_requested,
};

/*
 * Grant, refuse and steal are not repeatable.  When the connection to the database breaks after the
 * commit, the second call would find another holder: it would be refused, or take
 * the lock from the user who has it by the first one.
 */
static const struct sync_field grant_fields[] = {
	LOCK,
	{ .name = "user_id", .type = FIELD_USER, .flags = FIELD_REQUIRED },
	{ .name = "to", .type = FIELD_USER, .flags = FIELD_REQUIRED | FIELD_ANY_USER },
	{ .name = "token", .type = FIELD_INT, .min = 1, .max = TOKEN_MAX },
	{ .name = "socket_id", .type = FIELD_SOCKET, .flags = FIELD_OWN },
};

struct sync_action sync_lock_grant = {
	.fields = grant_fields,
	.n_fields = ARRAY_SIZE(grant_fields),
	.function = "sync_lock_grant",
};

static const struct sync_field refuse_fields[] = {
	LOCK,
	{ .name = "user_id", .type = FIELD_USER, .flags = FIELD_REQUIRED },
	{ .name = "to", .type = FIELD_USER, .flags = FIELD_REQUIRED | FIELD_ANY_USER },
	{ .name = "token", .type = FIELD_INT, .min = 1, .max = TOKEN_MAX },
	{ .name = "reason", .type = FIELD_TEXT, .min = 1, .max = 255 },
};

struct sync_action sync_lock_refuse = {
	.fields = refuse_fields,
	.n_fields = ARRAY_SIZE(refuse_fields),
	.function = "sync_lock_refuse",
};

enum { STEAL_TYPE, STEAL_ID, STEAL_FIELD, STEAL_USER_ID, STEAL_TTL, STEAL_SOCKET_ID, STEAL_FIELDS };

static const struct sync_field steal_fields[STEAL_FIELDS] = {
	LOCK, /* STEAL_TYPE, STEAL_ID, STEAL_FIELD */
	[STEAL_USER_ID] = { .name = "user_id", .type = FIELD_USER, .flags = FIELD_REQUIRED },
	[STEAL_TTL] = TTL,
	[STEAL_SOCKET_ID] = { .name = "socket_id",
			      .type = FIELD_SOCKET,
			      .flags = FIELD_OWN | FIELD_OPEN },
};

static void lock_stolen(const struct sync_call *sc)
{
	const struct sync_value *socket_id = &sc->values[STEAL_SOCKET_ID];

	if (socket_id->text)
		socket_ties_watch(sc->call.services->ties, sc->call.app, socket_id->socket_id,
				  lock_seconds(&sc->values[STEAL_TTL]));
}

struct sync_action sync_lock_steal = {
	.fields = steal_fields,
	.n_fields = STEAL_FIELDS,
	.function = "sync_lock_steal",
	.done = lock_stolen,
};

static const struct sync_field list_fields[] = {
	{ .name = "resource_type", .type = FIELD_ID },
	{ .name = "resource_id", .type = FIELD_ID },
	{ .name = "field", .type = FIELD_TEXT, .min = 1, .max = 64 },
	{ .name = "user_id", .type = FIELD_USER, .flags = FIELD_ANY_USER },
	{ .name = "limit", .type = FIELD_INT, .min = 1, .max = 200, .fallback = "50" },
	{ .name = "cursor", .type = FIELD_TEXT, .min = 1 },
};

struct sync_action sync_lock_list = {
	.fields = list_fields,
	.n_fields = ARRAY_SIZE(list_fields),
	.function = "sync_locks",
	.is_repeatable = true,
};
