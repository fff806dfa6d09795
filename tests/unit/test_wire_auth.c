/* SPDX-License-Identifier: MIT */
/* The vectors are those of the Pusher documentation and its server SDKs. */
#include "unit.h"
#include <errno.h>
#include "base/mem.h"
#include "wire/auth.h"

#define KEY    SV("278d425bdf160c739803")
#define SECRET SV("7ad3773142a6692b25b8")
#define SOCKET SV("1234.1234")
#define NOW    ((usec_t)1353088179 * USEC_PER_SEC)
#define WINDOW ((usec_t)600 * USEC_PER_SEC)

static struct auth_secret *secret;

static void setup(void)
{
	secret = auth_secret_new(SECRET);
}

static void teardown(void)
{
	auth_secret_free(secret);
}

static void sign(const char *text, char hex[AUTH_HEX_BYTES + 1])
{
	struct str_view part = sv(text);

	auth_sign(secret, &part, 1, hex);
}

START_TEST(signs_the_documented_vectors)
{
	static const struct {
		const char *text, *hex;
	} vectors[] = {
		{ "1234.1234:private-foobar",
		  "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4" },
		{ "1234.1234:presence-foobar:{\"user_id\":10,\"user_info\":{\"name\":\"Mr. "
		  "Pusher\"}}",
		  "afaed3695da2ffd16931f457e338e6c9f2921fa133ce7dac49f529792be6304c" },
		{ "1234.1234:presence-foobar:{\"user_id\":10,\"user_info\":{\"name\":\"Mr. "
		  "Channels\"}}",
		  "31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80" },
		{ "1234.1234::user::{\"id\":\"12345\"}",
		  "4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba" },
	};
	char hex[AUTH_HEX_BYTES + 1];

	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		sign(vectors[i].text, hex);
		ck_assert_str_eq(hex, vectors[i].hex);
	}
}
END_TEST

START_TEST(while_a_secret_is_replaced_both_are_accepted)
{
	const struct str_view channel = SV("private-foobar");
	const struct str_view parts[] = { SOCKET, SV(":"), channel };
	struct auth_secret *old = auth_secret_new(SV("the old one")),
			   *new = auth_secret_new(SV("the new one"));
	char hex[AUTH_HEX_BYTES + 1], auth[128];
	struct auth_subscription sub = { .socket_id = SOCKET, .channel = channel };

	auth_sign(old, parts, ARRAY_SIZE(parts), hex);
	snprintf(auth, sizeof(auth), "278d425bdf160c739803:%s", hex);
	sub.auth = sv(auth);
	ck_assert(!auth_check_channel(KEY, new, &sub));
	auth_secret_accept_previous(new, SV("the old one"));
	ck_assert(auth_check_channel(KEY, new, &sub));
	auth_sign(new, parts, ARRAY_SIZE(parts), hex);
	snprintf(auth, sizeof(auth), "278d425bdf160c739803:%s", hex);
	sub.auth = sv(auth);
	ck_assert(auth_check_channel(KEY, new, &sub));
	ck_assert(!auth_check_channel(KEY, old, &sub));
	auth_secret_free(old);
	auth_secret_free(new);
}
END_TEST

/* RFC 4231, cases 1, 2, 6 (a key longer than a block) and 7. */
START_TEST(signs_the_vectors_of_rfc_4231)
{
	char ones[20], longer[131];
	const struct {
		struct str_view key;
		const char *text, *hex;
	} vectors[] = {
		{ { ones, sizeof(ones) },
		  "Hi There",
		  "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7" },
		{ SV("Jefe"), "what do ya want for nothing?",
		  "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843" },
		{ { longer, sizeof(longer) },
		  "Test Using Larger Than Block-Size Key - Hash Key First",
		  "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54" },
		{ { longer, sizeof(longer) },
		  "This is a test using a larger than block-size key and a larger than "
		  "block-size data. The key needs to be hashed before being used by the HMAC "
		  "algorithm.",
		  "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2" },
	};

	memset(ones, 0x0b, sizeof(ones));
	memset(longer, 0xaa, sizeof(longer));
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		struct auth_secret *s = auth_secret_new(vectors[i].key);
		struct str_view part = sv(vectors[i].text);
		char hex[AUTH_HEX_BYTES + 1];

		auth_sign(s, &part, 1, hex);
		ck_assert_str_eq(hex, vectors[i].hex);
		auth_secret_free(s);
	}
}
END_TEST

START_TEST(parts_sign_as_their_concatenation)
{
	static char text[3000];
	char whole[AUTH_HEX_BYTES + 1], hex[AUTH_HEX_BYTES + 1];

	memset(text, 'x', sizeof(text) - 1);
	sign(text, whole);
	for (size_t cut = 0; cut < sizeof(text); cut += 83) {
		struct str_view parts[] = { { text, cut },
					    { "", 0 },
					    { text + cut, sizeof(text) - 1 - cut } };

		auth_sign(secret, parts, ARRAY_SIZE(parts), hex);
		ck_assert_str_eq(hex, whole);
	}
}
END_TEST

START_TEST(an_empty_secret_signs)
{
	struct auth_secret *s = auth_secret_new(SV(""));
	char hex[AUTH_HEX_BYTES + 1];

	auth_sign(s, NULL, 0, hex);
	ck_assert_str_eq(hex, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
	auth_secret_free(s);
	auth_secret_free(NULL);
}
END_TEST

START_TEST(md5_is_right)
{
	char hex[AUTH_MD5_HEX_BYTES + 1];

	auth_md5_hex(SV(""), hex);
	ck_assert_str_eq(hex, "d41d8cd98f00b204e9800998ecf8427e");
	auth_md5_hex(SV("{\"name\":\"foo\",\"channels\":[\"project-3\"],\"data\":\"{\\\"some\\\":"
			"\\\"data\\\"}\"}"),
		     hex);
	ck_assert_str_eq(hex, "ec365a775a4cd0599faeb73354201b6f");
}
END_TEST

START_TEST(comparison_reads_all_bytes)
{
	ck_assert(auth_equal(SV(""), SV("")));
	ck_assert(auth_equal(SV("abc"), SV("abc")));
	ck_assert(!auth_equal(SV("abc"), SV("abd")));
	ck_assert(!auth_equal(SV("abc"), SV("xbc")));
	ck_assert(!auth_equal(SV("abc"), SV("abcd")));
	ck_assert(!auth_equal(SV("a\0b"), SV("a\0c")));
}
END_TEST

static bool private_ok(const char *auth)
{
	return auth_check_channel(KEY, secret,
				  &(struct auth_subscription){
					  sv(auth), SOCKET, SV("private-foobar"), false, SV("") });
}

START_TEST(channel_auth_is_key_colon_signature)
{
#define GOOD "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4"
	ck_assert(private_ok("278d425bdf160c739803:" GOOD));
	ck_assert(!private_ok(GOOD));
	ck_assert(!private_ok(""));
	ck_assert(!private_ok(":"));
	ck_assert(!private_ok(":" GOOD));
	ck_assert(!private_ok("278d425bdf160c739803:"));
	ck_assert(!private_ok("278d425bdf160c739803"));
	ck_assert(!private_ok("278d425bdf160c73980:" GOOD));
	ck_assert(!private_ok("other:" GOOD));
	ck_assert(!private_ok("278d425bdf160c739803:" GOOD "0"));
	ck_assert(!private_ok("278d425bdf160c739803::" GOOD));
	ck_assert(!private_ok("278d425bdf160c739803:58df8b0c36d6"));
	/* upper-case digits */
	ck_assert(!private_ok("278d425bdf160c739803:"
			      "58DF8B0C36D6982B82C3ECF6B4662E34FE8C25BBA48F5369F135BF843651C3A4"));
#undef GOOD
}
END_TEST

START_TEST(channel_data_is_signed_as_received)
{
	struct str_view auth = SV("278d425bdf160c739803:"
				  "afaed3695da2ffd16931f457e338e6c9f2921fa133ce7dac49f529792be6304"
				  "c");
	struct str_view data = SV("{\"user_id\":10,\"user_info\":{\"name\":\"Mr. Pusher\"}}");
	const struct auth_subscription good = { auth, SOCKET, SV("presence-foobar"), true, data };
	struct auth_subscription bad;

	ck_assert(auth_check_channel(KEY, secret, &good));
	bad = good;
	bad.has_channel_data = false;
	ck_assert(!auth_check_channel(KEY, secret, &bad));
	bad = good;
	bad.socket_id = SV("1234.1235");
	ck_assert(!auth_check_channel(KEY, secret, &bad));
	bad = good;
	bad.channel_data = SV("{\"user_id\":10, \"user_info\":{\"name\":\"Mr. Pusher\"}}");
	ck_assert(!auth_check_channel(KEY, secret, &bad));
}
END_TEST

START_TEST(user_auth_signs_with_its_own_separator)
{
	struct str_view auth = SV("278d425bdf160c739803:"
				  "4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336b"
				  "a");

	ck_assert(auth_check_user(KEY, secret, auth, SOCKET, SV("{\"id\":\"12345\"}")));
	ck_assert(!auth_check_user(KEY, secret, auth, SOCKET, SV("{\"id\":\"12346\"}")));
	ck_assert(!auth_check_user(SV("x"), secret, auth, SOCKET, SV("{\"id\":\"12345\"}")));
}
END_TEST

/* The documented call, for tests to spoil. */
struct call {
	struct auth_param params[AUTH_PARAMS_MAX + 2];
	struct auth_request r;
};

#define BODY                                                                                       \
	SV("{\"name\":\"foo\",\"channels\":[\"project-3\"],\"data\":\"{\\\"some\\\":\\\"data\\\""  \
	   "}\"}")

static void documented_call(struct call *c)
{
	const struct auth_param params[] = {
		{ SV("auth_signature"),
		  SV("da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c") },
		{ SV("body_md5"), SV("ec365a775a4cd0599faeb73354201b6f") },
		{ SV("auth_version"), SV("1.0") },
		{ SV("auth_key"), SV("278d425bdf160c739803") },
		{ SV("auth_timestamp"), SV("1353088179") },
	};

	memcpy(c->params, params, sizeof(params));
	c->r = (struct auth_request){ .method = SV("POST"),
				      .path = SV("/apps/3/events"),
				      .params = c->params,
				      .n_params = ARRAY_SIZE(params),
				      .body = BODY };
}

static struct str_view *value_of(struct call *c, const char *name)
{
	for (size_t i = 0; i < c->r.n_params; i++)
		if (sv_eq_c(c->params[i].name, name))
			return &c->params[i].value;
	ck_abort_msg("no parameter %s", name);
	return NULL;
}

static void drop(struct call *c, const char *name)
{
	for (size_t i = 0; i < c->r.n_params; i++) {
		if (sv_eq_c(c->params[i].name, name)) {
			c->params[i] = c->params[--c->r.n_params];
			return;
		}
	}
	ck_abort_msg("no parameter %s", name);
}

static enum auth_verdict check_at(struct call *c, usec_t now)
{
	return auth_check_request(KEY, secret, &c->r, now, WINDOW);
}

static enum auth_verdict check(struct call *c)
{
	return check_at(c, NOW);
}

/* Signs the call's parameters anew as a client would: text is "POST\npath\na=b&c=d". */
static void resign(struct call *c, const char *text, char hex[AUTH_HEX_BYTES + 1])
{
	sign(text, hex);
	*value_of(c, "auth_signature") = sv_n(hex, AUTH_HEX_BYTES);
}

START_TEST(request_vector_passes_in_any_order)
{
	struct call c;

	documented_call(&c);
	for (size_t turn = 0; turn < c.r.n_params; turn++) {
		struct auth_param first = c.params[0];

		memmove(c.params, c.params + 1, (c.r.n_params - 1) * sizeof(first));
		c.params[c.r.n_params - 1] = first;
		ck_assert_int_eq(check(&c), AUTH_OK);
	}
}
END_TEST

START_TEST(a_request_that_lacks_a_parameter_is_refused)
{
	static const char *const names[] = { "auth_key", "auth_signature", "auth_timestamp",
					     "auth_version" };
	struct call c;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		documented_call(&c);
		drop(&c, names[i]);
		ck_assert_int_eq(check(&c), AUTH_MISSING);
	}
	c.r.n_params = 0;
	c.r.params = NULL;
	ck_assert_int_eq(check(&c), AUTH_MISSING);
}
END_TEST

START_TEST(a_request_with_a_wrong_parameter_is_refused)
{
	static const struct {
		const char *name, *value;
		enum auth_verdict verdict;
	} cases[] = {
		{ "auth_version", "2.0", AUTH_VERSION },
		{ "auth_version", "", AUTH_VERSION },
		{ "auth_key", "278d425bdf160c739804", AUTH_KEY },
		{ "auth_key", "", AUTH_KEY },
		{ "auth_timestamp", "", AUTH_TIMESTAMP },
		{ "auth_timestamp", "-5", AUTH_TIMESTAMP },
		{ "auth_timestamp", "1353088179.5", AUTH_TIMESTAMP },
		{ "auth_timestamp", "99999999999999999999999", AUTH_TIMESTAMP },
		{ "auth_timestamp", "18446744073709551615", AUTH_TIMESTAMP },
		{ "auth_timestamp", "1353088180", AUTH_SIGNATURE },
		{ "auth_signature", "", AUTH_SIGNATURE },
		{ "auth_signature", "da45", AUTH_SIGNATURE },
		{ "auth_signature",
		  "DA454824C97BA181A32CCC17A72625BA02771F50B50E1E7430E47A1F3F457E6C",
		  AUTH_SIGNATURE },
		{ "body_md5", "d41d8cd98f00b204e9800998ecf8427e", AUTH_SIGNATURE },
	};
	struct call c;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		documented_call(&c);
		*value_of(&c, cases[i].name) = sv(cases[i].value);
		ck_assert_msg(check(&c) == cases[i].verdict, "case %zu", i);
	}
}
END_TEST

START_TEST(the_window_is_two_sided_and_exact)
{
	struct call c;

	documented_call(&c);
	ck_assert_int_eq(check_at(&c, NOW + WINDOW), AUTH_OK);
	ck_assert_int_eq(check_at(&c, NOW - WINDOW), AUTH_OK);
	ck_assert_int_eq(check_at(&c, NOW + WINDOW + 1), AUTH_TIMESTAMP);
	ck_assert_int_eq(check_at(&c, NOW - WINDOW - 1), AUTH_TIMESTAMP);
}
END_TEST

START_TEST(the_body_must_have_the_sum_that_was_signed)
{
	struct call c;

	documented_call(&c);
	c.r.body = SV("{}");
	ck_assert_int_eq(check(&c), AUTH_BODY_MD5);
	documented_call(&c);
	c.r.body = SV("");
	ck_assert_int_eq(check(&c), AUTH_BODY_MD5);
	documented_call(&c);
	drop(&c, "body_md5");
	ck_assert_int_eq(check(&c), AUTH_BODY_MD5);
}
END_TEST

START_TEST(a_get_needs_no_body_md5)
{
	char hex[AUTH_HEX_BYTES + 1];
	struct call c;

	documented_call(&c);
	drop(&c, "body_md5");
	c.r.method = SV("GET");
	c.r.path = SV("/apps/3/channels");
	c.r.body = SV("");
	resign(&c,
	       "GET\n/apps/3/channels\nauth_key=278d425bdf160c739803&auth_timestamp=1353088179&"
	       "auth_version=1.0",
	       hex);
	ck_assert_int_eq(check(&c), AUTH_OK);
	c.r.method = SV("POST");
	ck_assert_int_eq(check(&c), AUTH_SIGNATURE);
	c.r.method = SV("GET");
	c.r.path = SV("/apps/4/channels");
	ck_assert_int_eq(check(&c), AUTH_SIGNATURE);
}
END_TEST

START_TEST(parameters_are_sorted_by_name_and_values_left_as_they_are)
{
	char hex[AUTH_HEX_BYTES + 1];
	struct call c;

	documented_call(&c);
	drop(&c, "body_md5");
	c.r.body = SV("");
	c.params[c.r.n_params++] =
		(struct auth_param){ SV("filter_by_prefix"), SV("Presence-= \xc3\xa9") };
	c.params[c.r.n_params++] = (struct auth_param){ SV("info"), SV("user_count,cache") };
	c.params[c.r.n_params++] = (struct auth_param){ SV("auth"), SV("") };
	resign(&c,
	       "POST\n/apps/3/events\nauth=&auth_key=278d425bdf160c739803&auth_timestamp="
	       "1353088179&auth_version=1.0&filter_by_prefix=Presence-= \xc3\xa9&info=user_count,"
	       "cache",
	       hex);
	ck_assert_int_eq(check(&c), AUTH_OK);
}
END_TEST

static const struct auth_param ambiguous_params[] = {
	{ SV("Filter_By_Prefix"), SV("a") },
	{ SV("AUTH_KEY"), SV("a") },
	{ SV("a&b"), SV("c") },
	{ SV("a=b"), SV("c") },
	{ SV("a"), SV("b&filter_by_prefix=c") },
};

START_TEST(a_query_that_can_be_signed_in_two_ways_is_refused)
{
	struct call c;

	documented_call(&c);
	ck_assert_int_eq(check(&c), AUTH_OK);
	c.params[c.r.n_params++] = ambiguous_params[_i];
	ck_assert_int_eq(check(&c), AUTH_AMBIGUOUS);
}
END_TEST

START_TEST(long_names_and_values_sign_too)
{
	static char name[700], text[4000];
	char hex[AUTH_HEX_BYTES + 1];
	struct call c;

	memset(name, 'z', sizeof(name) - 1);
	documented_call(&c);
	drop(&c, "body_md5");
	c.r.body = SV("");
	c.params[c.r.n_params++] = (struct auth_param){ sv(name), sv(name) };
	snprintf(text, sizeof(text),
		 "POST\n/apps/3/events\nauth_key=278d425bdf160c739803&auth_timestamp=1353088179&"
		 "auth_version=1.0&%s=%s",
		 name, name);
	resign(&c, text, hex);
	ck_assert_int_eq(check(&c), AUTH_OK);
}
END_TEST

START_TEST(too_many_parameters_are_refused)
{
	struct call c;

	documented_call(&c);
	while (c.r.n_params < AUTH_PARAMS_MAX + 1)
		c.params[c.r.n_params++] = (struct auth_param){ SV("x"), SV("y") };
	ck_assert_int_eq(check(&c), AUTH_SIGNATURE);
}
END_TEST

/* The bytes 0 to 31; the digest is sha256sum's of the channel's name and them. */
#define MASTER_KEY "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define SHARED	   "wp8Orjt2S4H4n8dDP7pa2A9reduRTTedbaiVnjqomsc="

START_TEST(a_shared_secret_is_of_channel_and_master_key)
{
	unsigned char key[AUTH_MASTER_KEY_BYTES];
	char shared[AUTH_SHARED_SECRET_CHARS + 1];

	ck_assert_int_eq(auth_read_master_key(SV(MASTER_KEY), key), 0);
	for (size_t i = 0; i < sizeof(key); i++)
		ck_assert_uint_eq(key[i], i);
	auth_shared_secret(key, SV("private-encrypted-vault"), shared);
	ck_assert_str_eq(shared, SHARED);
	auth_shared_secret(key, SV("private-encrypted-vaults"), shared);
	ck_assert_str_ne(shared, SHARED);
}
END_TEST

START_TEST(a_master_key_has_32_bytes)
{
	static const char *const bad[] = {
		"",
		"AA==",
		"000102030405060708090a0b0c0d0e0f101112131415",
		"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg==",
		"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",
		"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gIQ==",
		"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh!=",
		"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGx==Hh8=",
	};
	unsigned char key[AUTH_MASTER_KEY_BYTES] = { 7 };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(auth_read_master_key(sv(bad[i]), key) == -EINVAL, "%s", bad[i]);
	ck_assert_uint_eq(key[0], 7);
}
END_TEST

START_TEST(every_verdict_has_its_own_sentence)
{
	for (int v = AUTH_OK; v <= AUTH_SIGNATURE; v++) {
		ck_assert_uint_gt(strlen(auth_verdict_text((enum auth_verdict)v)), 10);
		for (int w = AUTH_OK; w < v; w++)
			ck_assert_str_ne(auth_verdict_text((enum auth_verdict)v),
					 auth_verdict_text((enum auth_verdict)w));
	}
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("wire/auth");
	TCase *t = tcase_create("auth");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, signs_the_documented_vectors);
	tcase_add_test(t, signs_the_vectors_of_rfc_4231);
	tcase_add_test(t, while_a_secret_is_replaced_both_are_accepted);
	tcase_add_test(t, parts_sign_as_their_concatenation);
	tcase_add_test(t, an_empty_secret_signs);
	tcase_add_test(t, md5_is_right);
	tcase_add_test(t, comparison_reads_all_bytes);
	tcase_add_test(t, channel_auth_is_key_colon_signature);
	tcase_add_test(t, channel_data_is_signed_as_received);
	tcase_add_test(t, user_auth_signs_with_its_own_separator);
	tcase_add_test(t, request_vector_passes_in_any_order);
	tcase_add_test(t, a_request_that_lacks_a_parameter_is_refused);
	tcase_add_test(t, a_request_with_a_wrong_parameter_is_refused);
	tcase_add_test(t, the_window_is_two_sided_and_exact);
	tcase_add_test(t, the_body_must_have_the_sum_that_was_signed);
	tcase_add_test(t, a_get_needs_no_body_md5);
	tcase_add_test(t, parameters_are_sorted_by_name_and_values_left_as_they_are);
	tcase_add_loop_test(t, a_query_that_can_be_signed_in_two_ways_is_refused, 0,
			    sizeof(ambiguous_params) / sizeof(*ambiguous_params));
	tcase_add_test(t, long_names_and_values_sign_too);
	tcase_add_test(t, too_many_parameters_are_refused);
	tcase_add_test(t, a_shared_secret_is_of_channel_and_master_key);
	tcase_add_test(t, a_master_key_has_32_bytes);
	tcase_add_test(t, every_verdict_has_its_own_sentence);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	return unit_run(suite());
}
