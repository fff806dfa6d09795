/* SPDX-License-Identifier: MIT */
#ifndef TESTS_UNIT_APP_H
#define TESTS_UNIT_APP_H
/* Apps for tests of the layers above conf: built by the real parser, with the defaults users get.
 */
#include "unit.h"
#include "conf/conf.h"

/*
 * An app with key "key" and secret "secret"; options are "name", "value", ..., NULL, and may name
 * the two again.  The caller unrefs it.
 */
static inline struct app *unit_app(const char *id, const char *const *options)
{
	struct app_option list[16] = { { "key", "key" }, { "secret", "secret" } };
	struct app *app;
	char *why = NULL;
	size_t n = 2;

	for (; options && *options; options += 2) {
		ck_assert_uint_lt(n, sizeof(list) / sizeof(*list));
		list[n++] = (struct app_option){ options[0], options[1] };
	}
	ck_assert_msg(app_build(id, list, n, &app, &why) == 0, "%s", why);
	return app;
}

#define UNIT_APP_AS(id, ...) unit_app(id, (const char *const[]){ __VA_ARGS__ __VA_OPT__(, ) NULL })
#define UNIT_APP(...)	     UNIT_APP_AS("portal" __VA_OPT__(, ) __VA_ARGS__)

/* A set of these n apps, which takes the references. */
static inline struct app_set *unit_app_set(struct app **apps, size_t n)
{
	struct app_set *set;
	char *why = NULL;

	ck_assert_msg(app_set_build(apps, n, &set, &why) == 0, "%s", why);
	return set;
}

/* Makes these n apps the current ones. */
static inline void unit_apps_install(struct app **apps, size_t n)
{
	apps_install(unit_app_set(apps, n));
}
#endif
