/* SPDX-License-Identifier: MIT */
/* Bearer tokens.  They are made here with OpenSSL alone, so that the library is not its own
 * witness. */
#include "unit.h"
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>
#include "wire/jwt.h"

#define NOW    (1700000000 * USEC_PER_SEC)
#define SECRET "local-reverb-secret"
#define HS256  "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"

static void add_base64url(struct strbuf *b, const void *bytes, size_t n)
{
	unsigned char out[4096];
	int len = EVP_EncodeBlock(out, bytes, (int)n);

	for (int i = 0; i < len && out[i] != '='; i++)
		strbuf_add_c(b, out[i] == '+' ? '-' : out[i] == '/' ? '_' : (char)out[i]);
}

static char *token_of(const char *header, const char *claims, const char *secret)
{
	unsigned char mac[32];
	unsigned len = sizeof(mac);
	struct strbuf b;
	char *token;

	strbuf_init(&b, 256);
	add_base64url(&b, header, strlen(header));
	strbuf_add_c(&b, '.');
	add_base64url(&b, claims, strlen(claims));
	HMAC(EVP_sha256(), secret, (int)strlen(secret), (const unsigned char *)b.ptr, b.len, mac,
	     &len);
	strbuf_add_c(&b, '.');
	add_base64url(&b, mac, len);
	token = strbuf_detach(&b);
	strbuf_release(&b);
	return token;
}

static enum jwt_verdict check_with(const char *header, const char *claims, const char *signer,
				   const char *secret, struct jwt_user *user)
{
	char *token = token_of(header, claims, signer);
	struct str_view keys[] = { sv(secret) };
	enum jwt_verdict v = jwt_check(sv(token), keys, 1, NOW, user);

	free(token);
	return v;
}

START_TEST(a_good_token_gives_its_user)
{
	struct jwt_user user;

	ck_assert_int_eq(check_with(HS256,
				    "{\"sub\":\"7\",\"exp\":1700000060,\"name\":\"Ada\","
				    "\"roles\":[\"admin\"],\"extra\":1}",
				    SECRET, SECRET, &user),
			 JWT_OK);
	ck_assert_str_eq(user.id, "7");
	ck_assert_str_eq(user.json, "{\"id\":7,\"name\":\"Ada\",\"roles\":[\"admin\"]}");
	ck_assert_int_eq(user.expires, 1700000060 * USEC_PER_SEC);
	jwt_user_release(&user);
}
END_TEST

static const struct {
	const char *claims;
	enum jwt_verdict verdict;
} claim_cases[] = {
	{ "{\"sub\":7,\"exp\":1700000060}", JWT_OK },
	{ "{\"sub\":7,\"exp\":1699999980}", JWT_OK }, /* within the leeway */
	{ "{\"sub\":7,\"exp\":1699999960}", JWT_EXPIRED },
	{ "{\"sub\":7,\"exp\":0}", JWT_EXPIRED },
	{ "{\"sub\":7,\"exp\":-1}", JWT_BAD_TIME },
	{ "{\"sub\":7,\"exp\":1e300}", JWT_BAD_TIME },
	{ "{\"sub\":7,\"exp\":\"1700000060\"}", JWT_BAD_TIME },
	{ "{\"sub\":7}", JWT_NO_EXPIRY },
	{ "{\"sub\":7,\"exp\":1700000060,\"nbf\":1700000020}", JWT_OK },
	{ "{\"sub\":7,\"exp\":1700000060,\"nbf\":1700000040}", JWT_NOT_YET },
	{ "{\"sub\":7,\"exp\":1700000060,\"iat\":1700000040}", JWT_NOT_YET },
	{ "{\"sub\":7,\"exp\":1700000060,\"iat\":null}", JWT_BAD_TIME },
	{ "{\"exp\":1700000060}", JWT_BAD_SUBJECT },
	{ "{\"sub\":0,\"exp\":1700000060}", JWT_BAD_SUBJECT },
	{ "{\"sub\":-7,\"exp\":1700000060}", JWT_BAD_SUBJECT },
	{ "{\"sub\":7.5,\"exp\":1700000060}", JWT_BAD_SUBJECT },
	{ "{\"sub\":\"9223372036854775807\",\"exp\":1700000060}", JWT_OK },
	{ "{\"sub\":\"9223372036854775808\",\"exp\":1700000060}", JWT_BAD_SUBJECT },
	{ "{\"sub\":\"7 \",\"exp\":1700000060}", JWT_BAD_SUBJECT },
	{ "{\"sub\":[7],\"exp\":1700000060}", JWT_BAD_SUBJECT },
	{ "{\"sub\":7,\"exp\":1700000060,\"name\":7}", JWT_BAD_CLAIM },
	{ "{\"sub\":7,\"exp\":1700000060,\"name\":null}", JWT_OK },
	{ "{\"sub\":7,\"exp\":1700000060,\"avatar\":[]}", JWT_BAD_CLAIM },
	{ "{\"sub\":7,\"exp\":1700000060,\"roles\":\"admin\"}", JWT_BAD_CLAIM },
	{ "{\"sub\":7,\"exp\":1700000060,\"roles\":[null]}", JWT_BAD_CLAIM },
};

START_TEST(each_claim_is_checked)
{
	struct jwt_user user;

	ck_assert_msg(check_with(HS256, claim_cases[_i].claims, SECRET, SECRET, &user) ==
			      claim_cases[_i].verdict,
		      "%s", claim_cases[_i].claims);
	jwt_user_release(&user);
}
END_TEST

START_TEST(only_hs256_with_our_secret_is_accepted)
{
	static const char good[] = "{\"sub\":7,\"exp\":1700000060}";
	struct jwt_user user;

	ck_assert_int_eq(check_with("{\"alg\":\"none\"}", good, SECRET, SECRET, &user),
			 JWT_BAD_ALGORITHM);
	ck_assert_int_eq(check_with("{\"alg\":\"HS384\"}", good, SECRET, SECRET, &user),
			 JWT_BAD_ALGORITHM);
	ck_assert_int_eq(check_with("{\"alg\":\"RS256\"}", good, SECRET, SECRET, &user),
			 JWT_BAD_ALGORITHM);
	ck_assert_int_eq(check_with(HS256, good, "another", SECRET, &user), JWT_BAD_SIGNATURE);
	ck_assert_int_eq(check_with(HS256, good, "", "", &user), JWT_BAD_SIGNATURE);
	ck_assert_ptr_null(user.json);
}
END_TEST

START_TEST(junk_is_malformed)
{
	static const char *const junk[] = { "",
					    ".",
					    "..",
					    "...",
					    "a",
					    "a.b",
					    "a.b.c",
					    "e30.e30.",
					    "eyJhbGciOiJIUzI1NiJ9..x",
					    "\xff\xfe.\x80.x" };
	const struct str_view key = SV(SECRET);
	char zeros[3] = { 'a', '\0', '.' };
	struct jwt_user user;

	for (size_t i = 0; i < sizeof(junk) / sizeof(*junk); i++)
		ck_assert_msg(jwt_check(sv(junk[i]), &key, 1, NOW, &user) != JWT_OK, "%s", junk[i]);
	ck_assert_int_eq(jwt_check(sv_n(zeros, 3), &key, 1, NOW, &user), JWT_MALFORMED);
}
END_TEST

START_TEST(a_tampered_token_is_refused)
{
	char *token = token_of(HS256, "{\"sub\":7,\"exp\":1700000060}", SECRET);
	const struct str_view key = SV(SECRET);
	size_t n = strlen(token);
	struct jwt_user user;

	/* the last digit of each part may hold bits that mean nothing */
	for (size_t i = 0; i + 1 < n; i++) {
		char was = token[i];

		if (was == '.' || token[i + 1] == '.')
			continue;
		token[i] = was == 'A' ? 'B' : 'A';
		ck_assert_msg(jwt_check(sv(token), &key, 1, NOW, &user) != JWT_OK, "at %zu", i);
		token[i] = was;
	}
	ck_assert_int_eq(jwt_check(sv(token), &key, 1, NOW, &user), JWT_OK);
	jwt_user_release(&user);
	free(token);
}
END_TEST

static bool is_portal(void *ctx, struct str_view name)
{
	(*(unsigned *)ctx)++;
	return sv_eq(name, SV("client-portal"));
}

static const struct {
	const char *claims;
	enum jwt_audience audience;
	unsigned asked;
} audience_cases[] = {
	{ "{}", JWT_AUDIENCE_NONE, 0 },
	{ "{\"aud\":\"client-portal\"}", JWT_AUDIENCE_OURS, 1 },
	{ "{\"aud\":\"other\"}", JWT_AUDIENCE_OTHER, 1 },
	{ "{\"aud\":[\"other\",\"client-portal\",\"third\"]}", JWT_AUDIENCE_OURS, 2 },
	{ "{\"aud\":[\"other\"]}", JWT_AUDIENCE_OTHER, 1 },
	{ "{\"aud\":[]}", JWT_AUDIENCE_OTHER, 0 },
	{ "{\"aud\":[[\"client-portal\"]]}", JWT_AUDIENCE_OTHER, 0 },
	{ "{\"aud\":7}", JWT_AUDIENCE_OTHER, 0 },
	{ "{\"aud\":null}", JWT_AUDIENCE_OTHER, 0 },
};

START_TEST(an_audience_is_a_name_or_a_list_of_names)
{
	char *token = token_of(HS256, audience_cases[_i].claims, "unverified");
	unsigned asked = 0;

	ck_assert_int_eq(jwt_audience(sv(token), is_portal, &asked), audience_cases[_i].audience);
	ck_assert_uint_eq(asked, audience_cases[_i].asked);
	free(token);
}
END_TEST

START_TEST(what_is_no_token_has_no_audience)
{
	unsigned asked = 0;

	ck_assert_int_eq(jwt_audience(SV("no.token.at-all"), is_portal, &asked), JWT_AUDIENCE_NONE);
	ck_assert_uint_eq(asked, 0);
}
END_TEST

START_TEST(a_token_is_good_with_any_of_the_keys)
{
	const struct str_view keys[] = { SV("a first key of the application"), SV(SECRET), SV("") };
	char *token = token_of(HS256, "{\"sub\":7,\"exp\":1700000060}", SECRET);
	struct jwt_user user;

	ck_assert_int_eq(jwt_check(sv(token), keys, 3, NOW, &user), JWT_OK);
	jwt_user_release(&user);
	ck_assert_int_eq(jwt_check(sv(token), keys, 1, NOW, &user), JWT_BAD_SIGNATURE);
	ck_assert_int_eq(jwt_check(sv(token), keys, 0, NOW, &user), JWT_BAD_SIGNATURE);
	free(token);
	token = token_of(HS256, "{\"sub\":7,\"exp\":1700000060}", "");
	ck_assert_int_eq(jwt_check(sv(token), keys, 3, NOW, &user), JWT_BAD_SIGNATURE);
	free(token);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("wire/jwt");
	TCase *t = tcase_create("jwt");

	tcase_add_test(t, a_good_token_gives_its_user);
	tcase_add_loop_test(t, each_claim_is_checked, 0,
			    sizeof(claim_cases) / sizeof(*claim_cases));
	tcase_add_test(t, only_hs256_with_our_secret_is_accepted);
	tcase_add_test(t, junk_is_malformed);
	tcase_add_test(t, a_tampered_token_is_refused);
	tcase_add_loop_test(t, an_audience_is_a_name_or_a_list_of_names, 0,
			    sizeof(audience_cases) / sizeof(*audience_cases));
	tcase_add_test(t, what_is_no_token_has_no_audience);
	tcase_add_test(t, a_token_is_good_with_any_of_the_keys);
	suite_add_tcase(s, t);
	return unit_run(s);
}
