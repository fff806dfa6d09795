/* SPDX-License-Identifier: MIT */
/* The type and the keys of the hash are written once, before their first use. */
#include <pthread.h>
#include <string.h>
#include "base/hash.h"
#include "base/random.h"
#include "base/user_id.h"

static enum user_id_type user_id_type;
static uint64_t user_key_secrets[2][2];
static pthread_once_t user_key_once = PTHREAD_ONCE_INIT;

void user_id_set_type(enum user_id_type type)
{
	user_id_type = type;
}

static bool user_id_is_text(struct str_view s)
{
	static const char others[] = "-_=@;";

	if (!s.len || s.len > USER_ID_MAX_BYTES)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		char c = s.ptr[i];

		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		      (c && strchr(others, c))))
			return false;
	}
	return true;
}

bool user_id_read(struct str_view text, char out[USER_ID_SIZE])
{
	uint64_t number;

	out[0] = '\0';
	if (user_id_type == USER_ID_TEXT) {
		if (!user_id_is_text(text))
			return false;
		memcpy(out, text.ptr, text.len);
		out[text.len] = '\0';
		return true;
	}
	if (!sv_to_u64(text, INT64_MAX, &number) || !number)
		return false;
	str_u64(out, number);
	return true;
}

const char *user_id_rule(void)
{
	return user_id_type == USER_ID_TEXT ? "1 to 128 letters, digits and -_=@;"
					    : "a positive integer";
}

void user_id_add_json(struct strbuf *b, const char *id)
{
	if (user_id_type == USER_ID_TEXT)
		strbuf_add_json(b, sv(id));
	else
		strbuf_add_str(b, id);
}

static void user_key_make_secrets(void)
{
	random_bytes(user_key_secrets, sizeof(user_key_secrets));
}

struct user_key user_key_of(const char *id)
{
	struct user_key k = { { 0, 0 } };

	if (!id || !*id)
		return k;
	if (user_id_type == USER_ID_BIGINT) {
		if (!sv_to_u64(sv(id), INT64_MAX, &k.words[0]))
			k.words[0] = 0;
		return k;
	}
	pthread_once(&user_key_once, user_key_make_secrets);
	for (size_t i = 0; i < 2; i++)
		k.words[i] = hash_with_key(user_key_secrets[i], sv(id));
	return k;
}

bool user_key_eq(struct user_key a, struct user_key b)
{
	return a.words[0] == b.words[0] && a.words[1] == b.words[1];
}

bool user_key_is_set(struct user_key k)
{
	return k.words[0] || k.words[1];
}
