/* SPDX-License-Identifier: MIT */
#ifndef CLI_ASK_H
#define CLI_ASK_H
/*
 * Requests of the commands.  Each function returns an exit status, and has said on stderr what is
 * wrong if it is not EXIT_OK.  A query has n pairs name, value; a NULL value is left out.
 */
#include <jansson.h>
#include "cli/cli.h"

#define API "/admin/api/"

/* The exit status of a refusal, after its message was printed. */
int ask_refused(long status, const struct strbuf *body);
/* GET, or POST with a body; the answer's body, to be released. */
int ask_fetch(struct cli *cli, const char *path, const char *body, struct strbuf *out);
/* The same; *out, to be released, is there with EXIT_OK. */
int ask_json(struct cli *cli, const char *path, const char *body, json_t **out);
int ask_get(struct cli *cli, const char *path, const char *const *pairs, size_t n, json_t **out);
/* Prints the answer. */
int ask_show(struct cli *cli, const char *path, const char *const *pairs, size_t n);
/* Takes the body; prints an answer that has members. */
int ask_post(struct cli *cli, const char *path, json_t *body);
/* As it is with --json, else as lines and tables. */
void ask_print(const struct cli *cli, const json_t *answer);
#endif
