/* SPDX-License-Identifier: MIT */
/* The option webhooks of an application. */
#include "fuzz.h"
#include "conf/webhooks.h"

static void check(const struct webhook_list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		const struct webhook_endpoint *e = &l->endpoints[i];

		MUST(webhook_list_find(l, e->name) == e);
		MUST(strncmp(e->url, "http", 4) == 0 && !strpbrk(e->url, "\r\n "));
		MUST(e->events && !(e->events & ~l->watched));
		for (char **h = e->headers; h && *h; h++)
			MUST(strchr(*h, ':') > *h && !strpbrk(*h, "\r\n"));
		(void)webhook_endpoint_wants(e, WEBHOOK_CLIENT_EVENT, SV("private-orders.7"));
	}
}

static void fuzz(struct str_view input)
{
	struct webhook_list l = { 0 };
	char *complaint = NULL;

	if (webhook_list_parse(input, &l, &complaint) == 0) {
		check(&l);
		webhook_list_release(&l);
	} else {
		MUST(complaint && *complaint && !l.n);
	}
	free(complaint);
}
