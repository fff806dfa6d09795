/* SPDX-License-Identifier: MIT */
#ifndef TESTS_UNIT_APP_H
#define TESTS_UNIT_APP_H
/* Apps for tests of the layers above conf: built by the real parser, with the defaults users get.
 */
#include "unit.h"
#include "base/mem.h"
#include "conf/conf.h"

/* An app with key and secret; options are "name", "value", ..., NULL.  The caller unrefs it. */
static inline struct app *unit_app(const char *id, const char *const *options)
{
	struct app_option list[16] = { { "key", "key" }, { "secret", "secret" } };
	struct app *app;
	char *why = NULL;
	size_t n = 2;

	for (; options && *options; options += 2)
		list[n++] = (struct app_option){ options[0], options[1] };
	ck_assert_msg(app_build(id, list, n, &app, &why) == 0, "%s", why);
	return app;
}

#define UNIT_APP(...) unit_app("portal", (const char *const[]){ __VA_ARGS__ __VA_OPT__(, ) NULL })
#endif
