/* SPDX-License-Identifier: MIT */
/*
 * Writes a tree as compact text.  The recursion is as deep as the tree, which jansson's parser
 * limits.  No state; any thread.
 */
#include <inttypes.h>
#include "base/str.h"
#include "wire/json.h"
#include "wire/json_dump.h"

static void dump_value(struct strbuf *b, const json_t *value);

static void dump_real(struct strbuf *b, double value)
{
	char text[JSON_DOUBLE_SIZE];

	json_format_double(text, value);
	strbuf_add_str(b, text);
	if (!strpbrk(text, ".e"))
		strbuf_add_str(b, ".0");
}

static void dump_integer(struct strbuf *b, json_int_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRId64, (int64_t)value);
	strbuf_add_str(b, text);
}

static void dump_array(struct strbuf *b, const json_t *array)
{
	strbuf_add_c(b, '[');
	for (size_t i = 0; i < json_array_size(array); i++) {
		if (i)
			strbuf_add_c(b, ',');
		dump_value(b, json_array_get(array, i));
	}
	strbuf_add_c(b, ']');
}

static void dump_object(struct strbuf *b, const json_t *object)
{
	const char *name, *comma = "";
	json_t *value;

	strbuf_add_c(b, '{');
	json_object_foreach((json_t *)object, name, value)
	{
		strbuf_add_str(b, comma);
		strbuf_add_json(b, sv(name));
		strbuf_add_c(b, ':');
		dump_value(b, value);
		comma = ",";
	}
	strbuf_add_c(b, '}');
}

static void dump_value(struct strbuf *b, const json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		dump_object(b, value);
		break;
	case JSON_ARRAY:
		dump_array(b, value);
		break;
	case JSON_STRING:
		strbuf_add_json(b, sv_n(json_string_value(value), json_string_length(value)));
		break;
	case JSON_INTEGER:
		dump_integer(b, json_integer_value(value));
		break;
	case JSON_REAL:
		dump_real(b, json_real_value(value));
		break;
	case JSON_TRUE:
	case JSON_FALSE:
		strbuf_add_str(b, json_is_true(value) ? "true" : "false");
		break;
	case JSON_NULL:
		strbuf_add_str(b, "null");
		break;
	}
}

char *json_dump_text(const json_t *value)
{
	struct strbuf b;
	char *text;

	strbuf_init(&b, 256);
	dump_value(&b, value);
	text = strbuf_detach(&b);
	strbuf_release(&b);
	return text;
}
