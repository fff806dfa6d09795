/* SPDX-License-Identifier: MIT */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H
/*
 * A target defines fuzz(); its input is in a heap block of just its size, so that a read past
 * the end is seen.  What must hold is said with MUST.
 */
#include <stdint.h>
#include "base/mem.h"
#include "base/str.h"

#define MUST(what)                                                                                 \
	do {                                                                                       \
		if (!(what))                                                                       \
			abort();                                                                   \
	} while (0)

static void fuzz(struct str_view input);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *block = xmalloc(size);

	if (size)
		memcpy(block, data, size);
	fuzz(sv_n(block, size));
	free(block);
	return 0;
}
#endif
