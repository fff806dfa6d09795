/* SPDX-License-Identifier: MIT */
#ifndef WIRE_PUSHER_H
#define WIRE_PUSHER_H
/*
 * Frames of the Pusher Channels protocol: client frames in, server frames out.
 * Pure: bytes in, structs out.
 */
#include <stdbool.h>
#include <stdint.h>
#include "base/msgbuf.h"
#include "base/str.h"
#include "wire/position.h"

/* Codes of protocol A7; also used in band in pusher:error. */
enum pusher_code {
	PUSHER_TLS_ONLY = 4000,
	PUSHER_NO_APP = 4001,
	PUSHER_APP_DISABLED = 4003,
	PUSHER_OVER_QUOTA = 4004,
	PUSHER_BAD_PATH = 4005,
	PUSHER_BAD_VERSION = 4006,
	PUSHER_UNSUPPORTED_VERSION = 4007,
	PUSHER_NO_VERSION = 4008,
	PUSHER_UNAUTHORIZED = 4009,
	PUSHER_OVER_CAPACITY = 4100,
	PUSHER_RECONNECT = 4200,
	PUSHER_PONG_TIMEOUT = 4201,
	PUSHER_INACTIVE = 4202,
	PUSHER_RATE_LIMIT = 4301,
	PUSHER_WATCHLIST = 4302,
	PUSHER_CODE_NULL = 0, /* "code":null */
};

enum frame_kind {
	FRAME_PING,
	FRAME_PONG,
	FRAME_SUBSCRIBE,
	FRAME_UNSUBSCRIBE,
	FRAME_SIGNIN,
	FRAME_CLIENT_EVENT, /* event starts with "client-" */
	FRAME_HEARTBEAT,    /* client-scopewire:heartbeat */
	FRAME_UNKNOWN,	    /* any other event name */
};

/* Views point into the message or into text. */
struct client_frame {
	enum frame_kind kind;
	struct str_view event;
	struct str_view channel; /* data.channel, or the top-level channel of a client event */
	struct str_view auth;
	bool has_channel_data;
	struct str_view channel_data;
	struct str_view user_data;
	struct str_view since; /* of a subscribe: as it came, unchecked; ptr NULL when absent */
	struct str_view was;   /* of a subscribe: socket ids of before, unchecked */
	/* of a client event: its bytes in the message; of a heartbeat: the object; empty when
	 * absent */
	struct str_view data;
	char *text; /* owned: the strings that had escapes; or NULL */
};

/*
 * 0, or -EINVAL with *why a sentence for the client (static).  Wrong types of a field that the
 * kind needs are errors; unknown fields are not.  Of members with one name the last counts, and
 * null counts as absent.  Input must be UTF-8; at most JSON_MAX_DEPTH levels deep.
 * A subscribe/unsubscribe/signin whose data is a JSON *string* holding an object is accepted too
 * (some SDKs double-encode).  The message must outlive the frame.
 */
int client_frame_parse(struct str_view bytes, struct client_frame *out, const char **why) MUSTCHECK;
void client_frame_release(struct client_frame *f);

struct presence_member {
	char *user_id;	  /* heap; a whole number becomes its digits */
	char *user_info;  /* heap: JSON text as it was written, or NULL when absent */
	char **watchlist; /* signin only: heap strings, empty ones left out, or NULL */
	size_t n_watchlist;
};
/* Reads channel_data ({"user_id", "user_info"}); -EINVAL with *why; -E2BIG over the limits. */
int presence_member_parse(struct str_view channel_data, size_t max_id_bytes, size_t max_info_bytes,
			  struct presence_member *out, const char **why) MUSTCHECK;
/*
 * Reads user_data of a signin ({"id", "user_info"?, "watchlist"?}).  id is a non-empty string that
 * the user's own channel can have in its name.
 */
int user_data_parse(struct str_view user_data, size_t max_id_bytes, struct presence_member *out,
		    const char **why) MUSTCHECK;
void presence_member_release(struct presence_member *m);

/* Each appends one frame's JSON text to b. */
void frame_connection_established(struct strbuf *b, const char *socket_id,
				  unsigned activity_timeout_s,
				  struct str_view epoch /* empty: left out */);
void frame_error(struct strbuf *b, enum pusher_code code, struct str_view message);
/* Error 4200 with the time over which clients are to spread their return (0: left out). */
void frame_reconnect(struct strbuf *b, struct str_view message, unsigned within_ms);
void frame_pong(struct strbuf *b);
/* data_json: JSON text that becomes the data *string*; "{}" for public and private channels. */
void frame_subscription_succeeded(struct strbuf *b, struct str_view channel,
				  struct str_view data_json,
				  struct str_view position /* empty: left out */);
/* The end of a replay (docs/replay.md); position may be empty. */
void frame_replayed(struct strbuf *b, struct str_view channel, unsigned count,
		    struct str_view position);
/* The position cannot be served: position, if known, is the one that holds now. */
void frame_resync(struct strbuf *b, struct str_view channel, const char *reason,
		  const struct position *now);
/* The token by which subscriptions were authorized expires soon; exp: seconds since 1970. */
void frame_token_expiring(struct strbuf *b, uint64_t exp);
/* A later authorization has replaced that of a subscription. */
void frame_token_extended(struct strbuf *b, struct str_view channel, uint64_t exp);
/* type: "AuthError", "LimitReached", ...; status as in HTTP or the 4xxx code. */
void frame_subscription_error(struct strbuf *b, struct str_view channel, const char *type,
			      struct str_view error, unsigned status);
void frame_member_added(struct strbuf *b, struct str_view channel, struct str_view user_id,
			struct str_view user_info_json /* empty: left out */);
void frame_member_removed(struct strbuf *b, struct str_view channel, struct str_view user_id);
void frame_subscription_count(struct strbuf *b, struct str_view channel, unsigned count);
void frame_cache_miss(struct strbuf *b, struct str_view channel);
void frame_signin_success(struct strbuf *b, struct str_view user_data);
/* name: "online" or "offline". */
void frame_watchlist(struct strbuf *b, const char *name, const struct str_view *user_ids, size_t n);

/*
 * A server event.  data goes in as a JSON string, verbatim; or, when has_json_data, as the JSON
 * value it is (client events).  id, serial (0) and user_id are left out when empty.
 */
struct frame_event {
	struct str_view event, channel, data, id, user_id;
	uint64_t serial;
	bool has_json_data;
};
void frame_event(struct strbuf *b, const struct frame_event *e);

/* A finished WebSocket text frame (RFC 6455 section 5.2, FIN, unmasked) around the JSON text. */
struct msgbuf *ws_text_frame(struct str_view json) MUSTCHECK;
/* The same, appended to what is in out. */
void ws_text_frame_add(struct strbuf *out, struct str_view json);
/* An empty PING frame (section 5.5.2), then a text frame with pusher:ping. */
struct msgbuf *ws_ping_frames(void) MUSTCHECK;
/* A close frame (section 5.5.1); reason is cut to the 123 bytes a control frame has room for. */
struct msgbuf *ws_close_frame(unsigned code, struct str_view reason) MUSTCHECK;
#endif
