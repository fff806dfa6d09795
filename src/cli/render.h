/* SPDX-License-Identifier: MIT */
#ifndef CLI_RENDER_H
#define CLI_RENDER_H
/*
 * JSON as text for a terminal: members as lines, lists of objects as tables.  Control characters
 * are escaped, so that what a client sent cannot control the terminal.
 */
#include <jansson.h>
#include <stdio.h>

/* A value as text of one line, heap; "-" for null.  Quotes and backslashes stay as they are;
 * control characters become "?". */
char *render_plain(const json_t *value);
void render(const json_t *value, FILE *out);
#endif
