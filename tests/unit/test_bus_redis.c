/* SPDX-License-Identifier: MIT */
/* Which server of Redis has which channel, and which channels are wanted. */
#include "unit.h"
#include "base/mem.h"
#include "bus/redis_channels.h"
#include "bus/redis_map.h"

START_TEST(slots_are_those_of_redis)
{
	/* CLUSTER KEYSLOT of Redis 7.0 */
	ck_assert_uint_eq(redis_slot(SV("")), 0);
	ck_assert_uint_eq(redis_slot(SV("123456789")), 0x31c3);
	ck_assert_uint_eq(redis_slot(SV("foo")), 12182);
	ck_assert_uint_eq(redis_slot(SV("a{foo}b")), 12182);
	ck_assert_uint_eq(redis_slot(SV("a{foo}{bar}")), 12182);
	ck_assert_uint_ne(redis_slot(SV("{}foo")), 12182);
	ck_assert_uint_ne(redis_slot(SV("{foo")), 12182);
}
END_TEST

START_TEST(each_partition_has_a_tag_in_the_middle_of_its_slots)
{
	static struct redis_tags t;

	redis_tags_init(&t);
	for (unsigned i = 0; i < REDIS_PARTITIONS; i++) {
		unsigned slot = redis_slot(sv(t.of[i]));

		ck_assert_uint_eq(slot, t.slots[i]);
		ck_assert_uint_ge(slot, 128 * i + 62);
		ck_assert_uint_le(slot, 128 * i + 66);
	}
}
END_TEST

START_TEST(tags_and_partitions_never_change)
{
	static struct redis_tags t;

	/* Nodes of other versions use the same. */
	redis_tags_init(&t);
	ck_assert_str_eq(t.of[0], "11423");
	ck_assert_str_eq(t.of[127], "2748");
	ck_assert_uint_eq(redis_partition(SV("nodes")), 58);
	ck_assert_uint_eq(redis_partition(SV("portal:private-x.1")), 34);
}
END_TEST

/* An answer of the server, as hiredis reads it. */
static redisReply *reply_read(const char *text)
{
	redisReader *reader = redisReaderCreate();
	void *reply = NULL;

	ck_assert_int_eq(redisReaderFeed(reader, text, strlen(text)), REDIS_OK);
	ck_assert_int_eq(redisReaderGetReply(reader, &reply), REDIS_OK);
	ck_assert_ptr_nonnull(reply);
	redisReaderFree(reader);
	return reply;
}

#define PLACE(host, port) "*3\r\n" host ":" port "\r\n$2\r\nid\r\n"

START_TEST(a_map_gives_each_partition_to_the_master_of_its_slot)
{
	static const struct redis_place asked = { (char *)"seed", 7000 };
	redisReply *r =
		reply_read("*2\r\n"
			   "*4\r\n:0\r\n:8191\r\n" PLACE("$1\r\na\r\n", "7001")
				   PLACE("$1\r\nb\r\n", "7002") "*3\r\n:8192\r\n:16000\r\n" PLACE(
					   "$-1\r\n", "7003"));
	static struct redis_tags t;
	struct redis_map m;

	redis_tags_init(&t);
	ck_assert(redis_map_read(r, &asked, &t, &m));
	ck_assert_uint_eq(m.n, 2);
	ck_assert_str_eq(m.places[m.of[0]].host, "a");
	ck_assert_uint_eq(m.places[m.of[63]].port, 7001);
	ck_assert_str_eq(m.places[m.of[64]].host, "seed");
	ck_assert_uint_eq(m.places[m.of[124]].port, 7003);
	ck_assert_int_eq(m.of[127], REDIS_NOWHERE);
	redis_map_release(&m);
	freeReplyObject(r);
}
END_TEST

START_TEST(what_is_no_map_is_refused)
{
	static const struct redis_place asked = { (char *)"seed", 7000 };
	static const char *const cases[] = {
		"*0\r\n",
		":1\r\n",
		"-ERR no\r\n",
		"*1\r\n:1\r\n",
		"*1\r\n*2\r\n:0\r\n:1\r\n",
		"*1\r\n*3\r\n:0\r\n:1\r\n:2\r\n",
		"*1\r\n*3\r\n$1\r\n0\r\n:1\r\n*2\r\n$1\r\na\r\n:1\r\n",
		"*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\na\r\n:0\r\n",
		"*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\na\r\n:65536\r\n",
		"*2\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\na\r\n:1\r\n:7\r\n",
	};
	static struct redis_tags t;

	redis_tags_init(&t);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		redisReply *r = reply_read(cases[i]);
		struct redis_map m;

		ck_assert_msg(!redis_map_read(r, &asked, &t, &m), "%s", cases[i]);
		freeReplyObject(r);
	}
}
END_TEST

START_TEST(a_channel_is_left_some_time_after_the_last_who_wanted_it)
{
	const usec_t later = 60 * USEC_PER_SEC;
	struct redis_channel *ch;
	struct redis_channels c;

	redis_channels_init(&c);
	ck_assert(redis_channels_want(&c, SV("a"), 1));
	ck_assert(!redis_channels_want(&c, SV("a"), 1));
	ck_assert(redis_channels_want(&c, SV("b"), 1));
	redis_channels_leave(&c, SV("a"), 0);
	ck_assert_ptr_null(redis_channels_take_left(&c, later)); /* one still wants it */
	redis_channels_leave(&c, SV("a"), later);
	redis_channels_leave(&c, SV("b"), later);
	redis_channels_leave(&c, SV("no such"), later);
	ck_assert_ptr_null(redis_channels_take_left(&c, later + 1)); /* too early */
	ck_assert(!redis_channels_want(&c, SV("b"), 1));	     /* it is back */
	ch = redis_channels_take_left(&c, 2 * later);
	ck_assert_str_eq(ch->name, "a");
	redis_channel_free(ch);
	ck_assert_ptr_null(redis_channels_take_left(&c, 2 * later));
	ck_assert_ptr_null(redis_channels_find(&c, SV("a")));
	ck_assert_ptr_eq(c.of[1], redis_channels_find(&c, SV("b")));
	redis_channels_leave(&c, SV("b"), 2 * later);
	ch = redis_channels_take_left(&c, 3 * later);
	redis_channel_free(ch);
	ck_assert_ptr_null(c.of[1]);
	redis_channels_release(&c);
}
END_TEST

START_TEST(a_partition_that_moves_is_asked_for_all_its_channels)
{
	struct redis_channels c;

	redis_channels_init(&c);
	ck_assert(redis_channels_want(&c, SV("a"), 1));
	ck_assert(redis_channels_want(&c, SV("b"), 2));
	for (unsigned i = 1; i <= 2; i++) {
		c.of[i]->is_sent = true;
		redis_channels_confirm(&c, c.of[i]);
		redis_channels_confirm(&c, c.of[i]);
	}
	ck_assert_uint_eq(c.n_confirmed, 2);
	redis_channels_unsend(&c, 1);
	ck_assert_uint_eq(c.n_confirmed, 1);
	ck_assert(!c.of[1]->is_sent && c.of[2]->is_sent);
	redis_channels_release(&c);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("bus/redis");
	TCase *t = tcase_create("redis");

	tcase_add_test(t, slots_are_those_of_redis);
	tcase_add_test(t, each_partition_has_a_tag_in_the_middle_of_its_slots);
	tcase_add_test(t, tags_and_partitions_never_change);
	tcase_add_test(t, a_map_gives_each_partition_to_the_master_of_its_slot);
	tcase_add_test(t, what_is_no_map_is_refused);
	tcase_add_test(t, a_channel_is_left_some_time_after_the_last_who_wanted_it);
	tcase_add_test(t, a_partition_that_moves_is_asked_for_all_its_channels);
	suite_add_tcase(s, t);
	return unit_run(s);
}
