/* SPDX-License-Identifier: MIT */
#ifndef WIRE_AUTH_H
#define WIRE_AUTH_H
/*
 * Signatures of channels, users and API calls: HMAC-SHA256 in lower-case hex
 * (protocol A3, A6, A9).  Comparisons take the same time wherever the bytes differ.
 */
#include <stdbool.h>
#include <stdint.h>
#include "base/clock.h"
#include "base/str.h"

#define AUTH_HEX_BYTES	   64
#define AUTH_MD5_HEX_BYTES 32

/* A secret made ready to sign with; immutable, any thread. */
struct auth_secret;
struct auth_secret *auth_secret_new(struct str_view secret) MUSTCHECK;
/*
 * While a secret is replaced: checks accept what the previous one signed, too.  Called before s is
 * shared.
 */
void auth_secret_accept_previous(struct auth_secret *s, struct str_view previous);
void auth_secret_free(struct auth_secret *s);

/* HMAC over the parts one after the other; hex gets 64 digits and a NUL. */
void auth_sign(const struct auth_secret *s, const struct str_view *parts, size_t n_parts,
	       char hex[AUTH_HEX_BYTES + 1]);
/* Constant-time for equal lengths. */
bool auth_equal(struct str_view a, struct str_view b);
void auth_md5_hex(struct str_view bytes, char hex[AUTH_MD5_HEX_BYTES + 1]);

/* What a client signs to subscribe; all as it was received. */
struct auth_subscription {
	struct str_view auth; /* "key:hex" */
	struct str_view socket_id, channel;
	bool has_channel_data; /* false: the signature is without it */
	struct str_view channel_data;
};
/* True when key and signature are right. */
bool auth_check_channel(struct str_view key, const struct auth_secret *s,
			const struct auth_subscription *sub);
bool auth_check_user(struct str_view key, const struct auth_secret *s, struct str_view auth,
		     struct str_view socket_id, struct str_view user_data);

/*
 * Encrypted channels (protocol A4): the master key in base64, as server SDKs are given it; 0 or
 * -EINVAL when it is not one of 32 bytes.
 */
#define AUTH_MASTER_KEY_BYTES	 32
#define AUTH_SHARED_SECRET_CHARS 44
int auth_read_master_key(struct str_view base64, unsigned char out[AUTH_MASTER_KEY_BYTES])
	MUSTCHECK;
/* What a subscriber decrypts the channel with, in base64 with a NUL. */
void auth_shared_secret(const unsigned char key[AUTH_MASTER_KEY_BYTES], struct str_view channel,
			char out[AUTH_SHARED_SECRET_CHARS + 1]);

struct auth_param {
	struct str_view name, value; /* unescaped */
};

enum auth_verdict {
	AUTH_OK,
	AUTH_MISSING,	/* auth_key, auth_signature, auth_timestamp or auth_version is not there */
	AUTH_VERSION,	/* auth_version is not 1.0 */
	AUTH_KEY,	/* not this app's key */
	AUTH_TIMESTAMP, /* not a number, or further than the window from now */
	AUTH_BODY_MD5,	/* missing for a body that is there, or of another body */
	AUTH_SIGNATURE,
	AUTH_AMBIGUOUS, /* a name in upper case, or a name or value with & or a name with = */
};

struct auth_request {
	struct str_view method;		 /* upper case */
	struct str_view path;		 /* from "/apps" on */
	const struct auth_param *params; /* in any order, at most AUTH_PARAMS_MAX */
	size_t n_params;
	struct str_view body;
};
#define AUTH_PARAMS_MAX 64

/* Checks a signed API call (protocol A9).  now and window in µs of wall time.  Never allocates per
 * parameter. */
enum auth_verdict auth_check_request(struct str_view key, const struct auth_secret *s,
				     const struct auth_request *r, usec_t now, usec_t window);
/* One sentence for the caller: what is wrong and what to do. */
const char *auth_verdict_text(enum auth_verdict v);
#endif
