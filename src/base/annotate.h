/* SPDX-License-Identifier: MIT */
#ifndef BASE_ANNOTATE_H
#define BASE_ANNOTATE_H
/*
 * Marks that compilers check: results that must be looked at, printf formats, and
 * which thread may call what.  Thread marks are empty under gcc.
 */
#define MUSTCHECK	       __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define UNUSED		       __attribute__((unused))
#define ALWAYS_INLINE	       inline __attribute__((always_inline))

#ifdef __clang__
#define TSA(x) __attribute__((x))
#else
#define TSA(x)
#endif

/* A role is a token that only one kind of thread holds; see base/thread.h. */
#define RUNS_ON(role)  TSA(requires_capability(role)) /* after a prototype */
#define OWNED_BY(role) TSA(guarded_by(role))	      /* after a struct member */
#define NEEDS_LOCK(m)  TSA(requires_capability(m))    /* on *_locked helpers */
#define NO_TSA	       TSA(no_thread_safety_analysis)

#include "base/banned.h"
#endif
