/* SPDX-License-Identifier: MIT */
/*
 * Allocation that ends the process when memory has run out, with one line in the log.  Any thread.
 */
#include "base/mem.h"
#include "base/log.h"

static void *mem_or_die(void *p, size_t size)
{
	if (!p) {
		log_error("out of memory (%zu bytes were requested)", size);
		abort();
	}
	return p;
}

void *xmalloc(size_t size)
{
	return mem_or_die(malloc(size ? size : 1), size);
}

void *xcalloc(size_t n, size_t size)
{
	return mem_or_die(calloc(n ? n : 1, size ? size : 1), size);
}

void *xrealloc(void *p, size_t size)
{
	return mem_or_die(realloc(p, size ? size : 1), size);
}

void *xreallocarray(void *p, size_t n, size_t size)
{
	return mem_or_die(reallocarray(p, n ? n : 1, size), size);
}

char *xstrdup(const char *s)
{
	return mem_or_die(strdup(s), 0);
}

char *xstrndup(const char *s, size_t n)
{
	char *p = xmalloc(n + 1);

	if (n) /* s may be NULL then */
		memcpy(p, s, n);
	p[n] = '\0';
	return p;
}
