/* SPDX-License-Identifier: MIT */
/* The secret has a lock; it is made ready to sign with once, and a signature allocates nothing. */
#include <pthread.h>
#include <string.h>
#include "base/macros.h"
#include "base/mem.h"
#include "bus/seal.h"

/* So that nothing else which is signed with the secret is a message, and no message is one of
 * another version. */
#define PURPOSE "scopewire redis 2:"

/* For clang: this thread holds the lock. */
static struct TSA(capability("mutex")) seal_held {
	char unused;
} seal_held UNUSED;

struct bus_seal {
	pthread_mutex_t lock;
	struct auth_secret *secret OWNED_BY(seal_held); /* NULL: not known yet */
};

static void seal_lock(struct bus_seal *s) TSA(acquire_capability(seal_held)) NO_TSA
{
	pthread_mutex_lock(&s->lock);
}

static void seal_unlock(struct bus_seal *s) TSA(release_capability(seal_held)) NO_TSA
{
	pthread_mutex_unlock(&s->lock);
}

struct bus_seal *bus_seal_new(void)
{
	struct bus_seal *s = xcalloc(1, sizeof(*s));

	pthread_mutex_init(&s->lock, NULL);
	return s;
}

void bus_seal_free(struct bus_seal *s) NO_TSA /* no other thread has it any more */
{
	if (!s)
		return;
	auth_secret_free(s->secret);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

void bus_seal_set(struct bus_seal *s, struct str_view secret)
{
	struct auth_secret *made = auth_secret_new(secret), *old;

	seal_lock(s);
	old = s->secret;
	s->secret = made;
	seal_unlock(s);
	auth_secret_free(old);
}

/* The length of the channel's name is signed too: no byte of it can be one of the text. */
static bool seal_make(struct bus_seal *s, struct str_view channel, struct str_view text,
		      char hex[AUTH_HEX_BYTES + 1])
{
	char length[STR_U64_SIZE];
	const struct str_view parts[] = { SV(PURPOSE), sv(str_u64(length, channel.len)), SV(":"),
					  channel, text };
	bool is_known;

	seal_lock(s);
	is_known = s->secret != NULL;
	if (is_known)
		auth_sign(s->secret, parts, ARRAY_SIZE(parts), hex);
	seal_unlock(s);
	return is_known;
}

bool bus_seal_sign(struct bus_seal *s, struct str_view channel, struct str_view text,
		   char signature[BUS_SIGNATURE_BYTES])
{
	char hex[AUTH_HEX_BYTES + 1];

	if (!seal_make(s, channel, text, hex))
		return false;
	memcpy(signature, hex, BUS_SIGNATURE_BYTES);
	return true;
}

enum bus_verdict bus_seal_check(struct bus_seal *s, struct str_view channel, struct str_view text,
				struct str_view signature)
{
	char hex[AUTH_HEX_BYTES + 1];

	if (!seal_make(s, channel, text, hex))
		return BUS_NO_SECRET;
	return auth_equal(sv_n(hex, AUTH_HEX_BYTES), signature) ? BUS_SIGNED : BUS_NOT_SIGNED;
}
