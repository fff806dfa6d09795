/* SPDX-License-Identifier: MIT */
/* How requests to the admin listener are sent, and what is printed of their answers. */
#include <sysexits.h>
#include "base/mem.h"
#include "cli/ask.h"
#include "cli/render.h"
#include "wire/json.h"

static int ask_status(long status)
{
	return status == 401 || status == 403	? EX_NOPERM
	       : status == 400 || status == 404 ? EX_DATAERR
	       : status == 429 || status == 503 ? EX_TEMPFAIL
						: EX_SOFTWARE;
}

/* Prints the message of a refusal: that of the JSON, or the text. */
int ask_refused(long status, const struct strbuf *body)
{
	json_t *root = json_loadb(body->ptr, body->len, 0, NULL);
	const char *message =
		json_string_value(json_object_get(json_object_get(root, "error"), "message"));

	if (message)
		fprintf(stderr, "scopewirectl: %s\n", message);
	else
		fprintf(stderr, "scopewirectl: the listener answered %ld: %.*s\n", status,
			(int)body->len, body->ptr);
	json_decref(root);
	return ask_status(status);
}

int ask_fetch(struct cli *cli, const char *path, const char *body, struct strbuf *out)
{
	struct client_answer answer;
	char *why = NULL;

	strbuf_init(out, 0);
	if (client_request(cli->client, path, body, &answer, &why)) {
		fprintf(stderr, "scopewirectl: %s\n", why);
		free(why);
		return EX_UNAVAILABLE;
	}
	strbuf_release(out);
	*out = answer.body;
	return answer.status == 200 || answer.status == 202 ? EXIT_OK
							    : ask_refused(answer.status, out);
}

int ask_json(struct cli *cli, const char *path, const char *body, json_t **out)
{
	struct str_view whole;
	struct strbuf answer;
	int rc = ask_fetch(cli, path, body, &answer);

	*out = rc ? NULL : json_loadb(answer.ptr, answer.len, JSON_ALLOW_NUL, NULL);
	if (!rc && !*out && json_check(strbuf_view(&answer), &whole) == JSON_OK) {
		fputs("scopewirectl: the answer has a value that this program cannot read, such "
		      "as a number with a very large exponent; request the path itself\n",
		      stderr);
		rc = EX_DATAERR;
	} else if (!rc && !*out) {
		fprintf(stderr, "scopewirectl: the answer is not JSON; is %s an admin listener?\n",
			path);
		rc = EX_PROTOCOL;
	}
	strbuf_release(&answer);
	return rc;
}

void ask_print(const struct cli *cli, const json_t *answer)
{
	if (cli->options.json) {
		json_dumpf(answer, stdout, JSON_COMPACT);
		putchar('\n');
	} else {
		render(answer, stdout);
	}
}

int ask_get(struct cli *cli, const char *path, const char *const *pairs, size_t n, json_t **out)
{
	char *target = client_query(cli->client, path, pairs, n);
	int rc = ask_json(cli, target, NULL, out);

	free(target);
	return rc;
}

int ask_show(struct cli *cli, const char *path, const char *const *pairs, size_t n)
{
	json_t *answer;
	int rc = ask_get(cli, path, pairs, n, &answer);

	if (!rc)
		ask_print(cli, answer);
	json_decref(answer);
	return rc;
}

int ask_post(struct cli *cli, const char *path, json_t *body)
{
	char *text = json_dumps(body, JSON_COMPACT);
	json_t *answer;
	int rc = ask_json(cli, path, text, &answer);

	json_decref(body);
	free(text);
	if (!rc && (cli->options.json || json_object_size(answer)))
		ask_print(cli, answer);
	json_decref(answer);
	return rc;
}
