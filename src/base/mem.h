/* SPDX-License-Identifier: MIT */
#ifndef BASE_MEM_H
#define BASE_MEM_H
/*
 * malloc() and its relatives.  A caller cannot repair that memory has run out in a daemon that
 * holds every client's connection: these functions log one line and abort, so that their callers
 * need no branches that no test reaches.  Sizes that a peer chooses are limited before they get
 * here.
 */
#include <stddef.h>
#include "base/annotate.h"
#include "base/macros.h"

void *xmalloc(size_t size) MUSTCHECK;
void *xcalloc(size_t n, size_t size) MUSTCHECK;
void *xrealloc(void *p, size_t size) MUSTCHECK;
/* Grows p to n members of size bytes; aborts on overflow. */
void *xreallocarray(void *p, size_t n, size_t size) MUSTCHECK;
char *xstrdup(const char *s) MUSTCHECK;
char *xstrndup(const char *s, size_t n) MUSTCHECK;
#endif
