/* SPDX-License-Identifier: MIT */
/* Signed API calls ("name=value" a line, then the body behind an empty line) and "key:hex". */
#include "fuzz.h"
#include "wire/auth.h"

static struct str_view next_line(struct str_view *rest)
{
	ptrdiff_t end = sv_find(*rest, '\n');
	struct str_view line = end < 0 ? *rest : sv_n(rest->ptr, (size_t)end);

	*rest = sv_skip(*rest, end < 0 ? rest->len : (size_t)end + 1);
	return line;
}

static struct auth_param param_of(struct str_view line)
{
	ptrdiff_t equals = sv_find(line, '=');

	if (equals < 0)
		return (struct auth_param){ line, SV("") };
	return (struct auth_param){ sv_n(line.ptr, (size_t)equals),
				    sv_skip(line, (size_t)equals + 1) };
}

static void fuzz(struct str_view input)
{
	static struct auth_secret *secret;
	struct auth_param params[AUTH_PARAMS_MAX + 1];
	struct auth_request r = { .method = SV("POST"),
				  .path = SV("/apps/1/events"),
				  .params = params };
	struct str_view rest = input, line;
	enum auth_verdict v;

	if (!secret)
		secret = auth_secret_new(SV("secret"));
	while (rest.len && r.n_params < ARRAY_SIZE(params) && (line = next_line(&rest)).len)
		params[r.n_params++] = param_of(line);
	r.body = rest;
	v = auth_check_request(SV("key"), secret, &r, 0, USEC_PER_SEC);
	MUST(*auth_verdict_text(v));
	(void)auth_check_channel(
		SV("key"), secret,
		&(struct auth_subscription){ input, SV("1.2"), SV("private-x"), true, input });
	(void)auth_check_user(SV("key"), secret, input, SV("1.2"), input);
}
