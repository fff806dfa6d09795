/* SPDX-License-Identifier: MIT */
/*
 * Names of events, users and channels are written by others, and the pages show them.  The policy
 * below is the second line of defence, after the pages themselves, which make no HTML of data: a
 * browser runs no script but the file app.js, and sends nothing to another server.
 */
#include "base/macros.h"
#include "admin/pages.h"

#define PAGES "/admin/"

static const struct {
	const char *ending, *type;
} page_types[] = {
	{ ".html", "text/html; charset=utf-8" },
	{ ".js", "text/javascript; charset=utf-8" },
	{ ".css", "text/css; charset=utf-8" },
	{ ".svg", "image/svg+xml" },
	{ ".txt", REQUEST_TEXT },
};

static const struct {
	const char *name, *value;
} page_headers[] = {
	{ "Content-Security-Policy",
	  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
	  "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'" },
	{ "X-Content-Type-Options", "nosniff" },
	{ "X-Frame-Options", "DENY" },
	{ "Referrer-Policy", "no-referrer" },
	{ "Cross-Origin-Opener-Policy", "same-origin" },
	{ "Cache-Control", "no-cache" },
};

static const char *page_type(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(page_types); i++)
		if (sv_ends_with(sv(name), sv(page_types[i].ending)))
			return page_types[i].type;
	return "application/octet-stream";
}

static void page_send(struct request *r, const struct admin_file *f)
{
	struct reply reply = { .status = 200, .content_type = page_type(f->name) };

	for (size_t i = 0; i < ARRAY_SIZE(page_headers); i++)
		reply_add_header(&reply, page_headers[i].name, sv(page_headers[i].value));
	reply_add_header(&reply, "ETag", sv(f->etag));
	strbuf_init(&reply.body, 0);
	if (sv_eq_c(r->header(r, "If-None-Match"), f->etag))
		reply.status = 304;
	else
		strbuf_add_sv(&reply.body, sv_n((const char *)f->bytes, f->len));
	request_reply_full(r, &reply);
}

static void page_redirect(struct request *r)
{
	struct reply reply = { .status = 308, .content_type = REQUEST_TEXT };

	reply_add_header(&reply, "Location", SV(PAGES));
	strbuf_init(&reply.body, 0);
	request_reply_full(r, &reply);
}

bool admin_pages_serve(struct request *r)
{
	struct str_view name;

	if (!sv_eq(r->method, SV("GET")) && !sv_eq(r->method, SV("HEAD")))
		return false;
	if (sv_eq(r->path, SV("/admin"))) {
		page_redirect(r);
		return true;
	}
	if (!sv_starts_with(r->path, SV(PAGES)))
		return false;
	name = sv_skip(r->path, sizeof(PAGES) - 1);
	if (!name.len)
		name = SV("index.html");
	for (unsigned i = 0; i < admin_files_count; i++)
		if (sv_eq_c(name, admin_files[i].name)) {
			page_send(r, &admin_files[i]);
			return true;
		}
	return false;
}
