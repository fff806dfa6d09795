/* SPDX-License-Identifier: MIT */
#ifndef CLI_RENDER_H
#define CLI_RENDER_H
/*
 * JSON as text for people: members as lines, lists of objects as tables.  Control characters are
 * escaped, so that what a client sent cannot control the terminal.
 */
#include <jansson.h>
#include <stdio.h>

void render(const json_t *value, FILE *out);
#endif
