/* SPDX-License-Identifier: MIT */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H
/* What every Check program shares: one suite a program, forked cases, exit status for automake. */
#include <check.h>
#include <stdlib.h>
#include "base/metric.h"
#include "base/str.h"

/* The view and the C string hold the same bytes. */
#define ck_view_eq(view, text)                                                                     \
	do {                                                                                       \
		struct str_view view_ = (view);                                                    \
		const char *text_ = (text);                                                        \
		ck_assert_msg(sv_eq_c(view_, text_), "got \"%.*s\", want \"%s\"", SV_ARG(view_),   \
			      text_);                                                              \
	} while (0)

/* A cell of the metric, added up over all threads; 0 is its first. */
static inline int64_t unit_metric(enum metric m, unsigned cell)
{
	int64_t *sums = metrics_collect(), n = sums[metric_offset(m) + cell];

	free(sums);
	return n;
}

/*
 * Check's limit of four seconds for a case, and those that programs set, are those of a quiet
 * machine.  It reads these when a case is made; what the environment has, stays.
 */
__attribute__((constructor)) static void unit_be_patient(void)
{
	setenv("CK_DEFAULT_TIMEOUT", "20", 0);
	setenv("CK_TIMEOUT_MULTIPLIER", "4", 0);
}

static inline int unit_run(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	int failed;

	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
#endif
