/* SPDX-License-Identifier: MIT */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H
/* Requests to the admin listener, with libcurl.  One thread. */
#include <jansson.h>
#include <stdbool.h>
#include "base/annotate.h"
#include "base/str.h"
#include "conf/conf.h"

struct client;

struct client_options {
	const char *url;	/* https://host:port, or NULL: that of the configuration */
	const char *socket;	/* path of a Unix socket, or NULL */
	const char *cacert;	/* PEM file, or NULL: the system's */
	const char *token_file; /* or NULL */
};

/*
 * conf may be NULL with a url or a socket.  The token is that of the file, of the variable
 * SCOPEWIRECTL_TOKEN, or the one of the configuration with the broadest scope; there may be none.
 * NULL with *why a sentence (heap).
 */
struct client *client_new(const struct client_options *o, const struct conf *conf, char **why)
	MUSTCHECK;
void client_free(struct client *c); /* NULL is fine */

/* A query string of pairs name, value; a NULL value is left out.  Heap. */
char *client_query(struct client *c, const char *path, const char *const *pairs, size_t n)
	MUSTCHECK;
struct client_answer {
	long status;
	struct strbuf body; /* the caller releases it */
};

/*
 * GET, or POST with a body.  0 and the answer; -EHOSTDOWN with *why (heap) when the listener cannot
 * be reached.
 */
int client_request(struct client *c, const char *path, const char *body, struct client_answer *out,
		   char **why) MUSTCHECK;
struct client_reader {
	bool (*on_bytes)(void *ctx, struct str_view bytes); /* false: enough */
	void *ctx;
};
/*
 * GET of a body that does not end; 0 also when the reader has enough.  The rest is as above; the
 * body of an answer that is not 200 is in *out.
 */
int client_stream(struct client *c, const char *path, const struct client_reader *reader,
		  struct client_answer *out, char **why) MUSTCHECK;
#endif
