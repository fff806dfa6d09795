/* SPDX-License-Identifier: MIT */
/*
 * Splits the lists host, hostaddr and port of a connection string as libpq does (libpq's manual,
 * "Specifying Multiple Hosts"): a single port is that of all hosts.  No state; any thread.
 */
#include <libpq-fe.h>
#include <string.h>
#include "base/mem.h"
#include "base/str.h"
#include "pg/hosts.h"

static const char *hosts_option(const PQconninfoOption *options, const char *keyword)
{
	for (const PQconninfoOption *o = options; o && o->keyword; o++)
		if (strcmp(o->keyword, keyword) == 0 && o->val && *o->val)
			return o->val;
	return NULL;
}

static unsigned hosts_length(const char *list)
{
	unsigned n = list ? 1 : 0;

	for (const char *p = list; p && (p = strchr(p, ',')) != NULL; p++)
		n++;
	return n;
}

/* Item i of a list of n, which may have one item for all; NULL: the list is not there. */
static char *hosts_item(const char *list, unsigned i)
{
	if (!list)
		return NULL;
	if (hosts_length(list) == 1)
		i = 0;
	for (; i > 0; i--)
		list = strchr(list, ',') + 1;
	return xstrndup(list, strcspn(list, ","));
}

/* 1 unless all lists of more than one item have the same length. */
static unsigned hosts_count_of(const PQconninfoOption *options)
{
	unsigned hosts = hosts_length(hosts_option(options, "host"));
	unsigned addresses = hosts_length(hosts_option(options, "hostaddr"));
	unsigned ports = hosts_length(hosts_option(options, "port"));
	unsigned n = addresses ? addresses : hosts;

	if (n < 2 || (hosts && hosts != n) || (ports > 1 && ports != n))
		return 1;
	return n;
}

unsigned pg_hosts_count(const char *conninfo)
{
	PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
	unsigned n = hosts_count_of(options);

	PQconninfoFree(options);
	return n;
}

void pg_host_read(const char *conninfo, unsigned i, struct pg_host *out)
{
	PQconninfoOption *options = PQconninfoParse(conninfo, NULL);

	*out = (struct pg_host){ NULL, NULL, NULL };
	if (hosts_count_of(options) > 1) {
		out->host = hosts_item(hosts_option(options, "host"), i);
		out->hostaddr = hosts_item(hosts_option(options, "hostaddr"), i);
		out->port = hosts_item(hosts_option(options, "port"), i);
	}
	PQconninfoFree(options);
}

void pg_host_release(struct pg_host *h)
{
	free(h->host);
	free(h->hostaddr);
	free(h->port);
}

char *pg_hosts_text(const char *conninfo)
{
	PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
	const char *hosts = hosts_option(options, "host"), *ports = hosts_option(options, "port");
	struct strbuf text;

	if (!hosts)
		hosts = hosts_option(options, "hostaddr");
	strbuf_init(&text, 64);
	for (unsigned i = 0, n = hosts_count_of(options); i < n; i++) {
		char *host = hosts_item(hosts, i), *port = hosts_item(ports, i);

		strbuf_addf(&text, "%s%s%s%s", i ? ", " : "",
			    host && *host ? host : "the default address of libpq",
			    port && *port ? ":" : "", port ? port : "");
		free(host);
		free(port);
	}
	PQconninfoFree(options);
	return text.ptr;
}
