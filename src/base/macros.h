/* SPDX-License-Identifier: MIT */
#ifndef BASE_MACROS_H
#define BASE_MACROS_H
/* Two macros that C lacks. */
#include <stddef.h>

#define ARRAY_SIZE(a)		      (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(p, type, member) ((type *)((char *)(p)-offsetof(type, member)))
#endif
