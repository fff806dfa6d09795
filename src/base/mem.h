/* SPDX-License-Identifier: MIT */
#ifndef BASE_MEM_H
#define BASE_MEM_H
/*
 * Small helpers over malloc.  Running out of memory in a daemon that holds every
 * client's connection is not something a caller can mend: xmalloc and kin log once
 * and abort, so their callers carry no untestable branches.  Sizes that a peer
 * chooses are bounded before they get here.
 */
#include <stddef.h>
#include "base/annotate.h"

void *xmalloc(size_t size) MUSTCHECK;
void *xcalloc(size_t n, size_t size) MUSTCHECK;
void *xrealloc(void *p, size_t size) MUSTCHECK;
/* Grows p to n members of size bytes; aborts on overflow. */
void *xreallocarray(void *p, size_t n, size_t size) MUSTCHECK;
char *xstrdup(const char *s) MUSTCHECK;
char *xstrndup(const char *s, size_t n) MUSTCHECK;

#define ARRAY_SIZE(a)		      (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(p, type, member) ((type *)((char *)(p)-offsetof(type, member)))
#endif
