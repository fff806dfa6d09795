/* SPDX-License-Identifier: MIT */
/* Checks of the section [admin] that no option can make by itself. */
#include "base/mem.h"
#include "conf/conf-private.h"
#include "conf/conf_table.h"
#include "wire/address.h"

#define TOKEN_MIN_BYTES 24

bool conf_admin_is_off(const struct conf_admin *a)
{
	return strcmp(a->listen, "off") == 0;
}

bool conf_admin_is_unix(const struct conf_admin *a)
{
	return a->listen[0] == '/';
}

bool conf_admin_address(const struct conf_admin *a, char host[CONF_ADMIN_HOST_SIZE], unsigned *port)
{
	struct str_view all = sv(a->listen), name;
	const char *colon = strrchr(a->listen, ':');
	uint64_t n;

	if (!colon || !sv_to_u64(sv(colon + 1), 65535, &n))
		return false;
	name = sv_n(all.ptr, (size_t)(colon - all.ptr));
	if (name.len > 2 && name.ptr[0] == '[' && name.ptr[name.len - 1] == ']')
		name = sv_n(name.ptr + 1, name.len - 2);
	else if (sv_find(name, ':') >= 0)
		return false;
	if (!name.len || name.len >= CONF_ADMIN_HOST_SIZE)
		return false;
	memcpy(host, name.ptr, name.len);
	host[name.len] = '\0';
	*port = (unsigned)n;
	return true;
}

/* On this machine only; false for an address that cannot be read, too. */
static bool admin_is_loopback(const char *host)
{
	struct address address;

	return strcmp(host, "localhost") == 0 ||
	       (address_parse(sv(host), &address) && address_is_loopback(&address));
}

static void admin_check_token(struct loader *l, const char *word)
{
	struct str_view rest = sv(word), name = SV(""), scope = SV("");
	bool has_both = sv_split(&rest, ':', &name) && sv_split(&rest, ':', &scope);

	if (!has_both || !name.len ||
	    !(sv_eq(scope, SV("read")) || sv_eq(scope, SV("write")) || sv_eq(scope, SV("metrics"))))
		loader_complain_of(l, "admin", "tokens",
				   xstrdup(": each is NAME:SCOPE:TOKEN, and the scope "
					   "is metrics, read or write"));
	else if (rest.len < TOKEN_MIN_BYTES)
		loader_complain_of(l, "admin", "tokens",
				   textf(": the token %.*s is too short; use at least "
					 "%d characters, such as those of openssl rand -hex 24",
					 SV_ARG(name), TOKEN_MIN_BYTES));
}

void loader_check_admin(struct loader *l)
{
	const struct conf_admin *a = &l->conf->admin;
	bool has_tokens = a->tokens && *a->tokens;
	char host[CONF_ADMIN_HOST_SIZE];
	struct address address;
	unsigned port;

	for (char **word = a->tokens; word && *word; word++)
		admin_check_token(l, *word);
	loader_check_pair(l, "admin", (const char *const[]){ "tls_certificate", "tls_key" },
			  (const char *const[]){ a->tls_certificate, a->tls_key });
	if (conf_admin_is_off(a))
		return;
	if (!has_tokens && !a->local_read)
		loader_complain_of(l, "admin", "listen",
				   xstrdup(": no request would be allowed; set tokens, "
					   "or local_read = yes for clients on this machine"));
	if (conf_admin_is_unix(a))
		return;
	if (!conf_admin_address(a, host, &port) ||
	    (strcmp(host, "localhost") != 0 && !address_parse(sv(host), &address)))
		loader_complain_of(
			l, "admin", "listen",
			textf(" = %s: must be off, an address with a port "
			      "such as 127.0.0.1:8081 or [::1]:8081, or the path of a Unix "
			      "socket",
			      a->listen));
	else if (!admin_is_loopback(host) && (!*a->tls_certificate || !has_tokens))
		loader_complain_of(
			l, "admin", "listen",
			textf(" = %s: other machines can reach this "
			      "address; set tls_certificate, tls_key and tokens, or listen "
			      "on 127.0.0.1",
			      a->listen));
}
