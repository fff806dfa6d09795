/* SPDX-License-Identifier: MIT */
/* The set of open sockets, against a plain array of what it must contain. */
#include "unit.h"
#include "svc/sockets.h"
#include "wire/socket_id.h"

#define IDS 4096

static uint64_t id_of(unsigned i)
{
	return ((uint64_t)(i * 2654435761u & 0x7fffffff) << 32) | (i + 1);
}

START_TEST(a_socket_is_known_from_add_to_remove)
{
	struct sockets *s = sockets_new();
	bool is_open[IDS] = { false };
	unsigned random = 1;

	for (unsigned step = 0; step < 40 * IDS; step++) {
		unsigned i;

		random = random * 1103515245 + 12345;
		i = random >> 8 & (IDS - 1);
		if (is_open[i])
			sockets_remove(s, id_of(i));
		else
			sockets_add(s, id_of(i), i % 3);
		is_open[i] = !is_open[i];
	}
	for (unsigned i = 0; i < IDS; i++)
		ck_assert(sockets_is_open(s, id_of(i)) == is_open[i]);
	for (unsigned i = 0; i < IDS; i++)
		for (uint64_t app = 0; app < 3; app++)
			ck_assert(sockets_has(s, id_of(i), app) == (is_open[i] && app == i % 3));
	ck_assert(!sockets_has(s, UINT64_MAX, 1));
	ck_assert(!sockets_has(s, 0, 0));
	sockets_remove(s, UINT64_MAX);
	sockets_free(s);
}
END_TEST

START_TEST(a_socket_is_elsewhere_while_its_node_runs)
{
	struct sockets *s = sockets_new();
	uint64_t id = socket_id_new(SOCKET_ID_NODE_MAX);
	uint64_t nodes[SOCKETS_NODE_WORDS] = { 0 };

	ck_assert_uint_eq(socket_id_node(id), SOCKET_ID_NODE_MAX);
	ck_assert(!sockets_is_elsewhere(s, id));
	nodes[SOCKETS_NODE_WORDS - 1] = UINT64_C(1) << 63;
	ck_assert(!sockets_set_nodes(s, nodes));
	ck_assert(sockets_is_elsewhere(s, id));
	ck_assert(!sockets_is_elsewhere(s, socket_id_new(SOCKET_ID_NODE_MAX - 1)));
	ck_assert(!sockets_is_elsewhere(s, UINT64_MAX));
	ck_assert(!sockets_set_nodes(s, nodes));
	nodes[SOCKETS_NODE_WORDS - 1] = 0;
	ck_assert(sockets_set_nodes(s, nodes));
	ck_assert(!sockets_is_elsewhere(s, id));
	sockets_free(s);
}
END_TEST

START_TEST(a_socket_is_that_of_the_user_with_the_best_proof)
{
	struct sockets *s = sockets_new();

	sockets_claim(s, 5, 1, "7"); /* not open */
	sockets_add(s, 5, 1);
	ck_assert(!sockets_is_of(s, 5, "7"));
	ck_assert(!sockets_is_of(s, 5, ""));
	sockets_claim(s, 5, 2, "7"); /* of another application */
	ck_assert(!sockets_is_of(s, 5, "7"));
	sockets_claim(s, 5, 1, "7");
	sockets_claim(s, 5, 1, "8");
	ck_assert(sockets_is_of(s, 5, "7") && !sockets_is_of(s, 5, "8"));
	sockets_identify(s, 5, SV("8"), false);
	sockets_claim(s, 5, 1, "7");
	ck_assert(sockets_is_of(s, 5, "8") && !sockets_is_of(s, 5, "7"));
	sockets_identify(s, 5, SV("9"), true);
	sockets_identify(s, 5, SV("8"), false);
	ck_assert(sockets_is_of(s, 5, "9") && !sockets_is_of(s, 5, "8"));
	sockets_add(s, 6, 1);
	sockets_identify(s, 6, SV("ada"), false);
	sockets_claim(s, 6, 1, "7");
	ck_assert(!sockets_is_of(s, 6, "7") && !sockets_is_of(s, 6, ""));
	sockets_remove(s, 5);
	ck_assert(!sockets_is_of(s, 5, "9"));
	sockets_free(s);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("svc/sockets");
	TCase *t = tcase_create("svc_sockets");

	tcase_add_test(t, a_socket_is_known_from_add_to_remove);
	tcase_add_test(t, a_socket_is_elsewhere_while_its_node_runs);
	tcase_add_test(t, a_socket_is_that_of_the_user_with_the_best_proof);
	suite_add_tcase(s, t);
	return unit_run(s);
}
