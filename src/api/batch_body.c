/* SPDX-License-Identifier: MIT */
/* No state; any thread.  Linear: each item is parsed at most three times. */
#include <string.h>
#include "base/mem.h"
#include "wire/json.h"
#include "api/batch_body.h"

#define READ_FLAGS (JSON_REJECT_DUPLICATES | JSON_DECODE_ANY)
#define INEXACT	   "inexact"

/* why, if not NULL, has the fault INEXACT for a number that a double would change. */
static json_t *batch_parse(struct str_view text, json_error_t *why)
{
	json_t *value = json_loadb(text.ptr, text.len, READ_FLAGS, why);
	struct str_view number;

	if (!value || !json_find_inexact(text, &number))
		return value;
	json_decref(value);
	if (why)
		str_copy(why->text, sizeof(why->text), SV(INEXACT));
	return NULL;
}

static const char *batch_fault_of(const json_error_t *why)
{
	if (strstr(why->text, "duplicate"))
		return "The object has a name twice";
	if (strcmp(why->text, INEXACT) == 0)
		return "The value has a number that would be changed; send it as a string";
	switch (json_error_code(why)) {
	case json_error_null_character:
	case json_error_null_byte_in_key:
		return "The value has \\u0000, which cannot be stored";
	case json_error_numeric_overflow:
		return "The value has a number that is too large";
	case json_error_stack_overflow:
		return "The value is nested too deep";
	default:
		return "The value has half of a surrogate pair (such as \\ud83d), which UTF-8 "
		       "cannot hold";
	}
}

/* The member by which the client recognizes the item. */
static bool batch_is_id(const char *name)
{
	static const char *const ids[] = { "mutation_id", "resource_type", "resource_id", "op" };

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
		if (strcmp(name, ids[i]) == 0)
			return true;
	return false;
}

/* Notes the first fault of an item. */
static void batch_blame(json_t *unreadable, const char *field, const json_error_t *why)
{
	if (json_object_get(unreadable, "message"))
		return;
	json_object_set_new(unreadable, "message", json_string(batch_fault_of(why)));
	if (field)
		json_object_set_new(unreadable, "field", json_string(field));
}

static void batch_explain_member(json_t *shown, json_t *unreadable, const struct json_member *m)
{
	json_error_t why;
	json_t *name = batch_parse(m->name, &why), *value;

	if (!name) {
		batch_blame(unreadable, NULL, &why);
		return;
	}
	value = batch_parse(m->value, &why);
	if (!value)
		batch_blame(unreadable, json_string_value(name), &why);
	else if (batch_is_id(json_string_value(name)))
		json_object_set(shown, json_string_value(name), value);
	json_decref(name);
	json_decref(value);
}

static json_t *batch_explain(struct str_view item, const json_error_t *why)
{
	json_t *shown = json_object(), *unreadable = json_object();
	struct json_member m;
	size_t at = 0;

	while (json_kind(item) == '{' && json_next_member(item, &at, &m))
		batch_explain_member(shown, unreadable, &m);
	batch_blame(unreadable, NULL, why); /* the item itself */
	json_object_set_new(shown, "unreadable", unreadable);
	return shown;
}

static json_t *batch_read_list(struct str_view list)
{
	json_t *items = json_array();
	struct str_view item;
	size_t at = 0;

	while (json_next_element(list, &at, &item)) {
		json_error_t why;
		json_t *one = batch_parse(item, &why);

		json_array_append_new(items, one ? one : batch_explain(item, &why));
	}
	return items;
}

json_t *batch_body_read(struct str_view body, const char *list)
{
	struct json_member m;
	struct str_view object;
	json_t *whole;
	size_t at = 0;

	if (json_check_deep(body, JSON_DEEPEST, &object) || json_kind(object) != '{')
		return NULL;
	whole = json_object();
	while (whole && json_next_member(object, &at, &m)) {
		json_t *name = batch_parse(m.name, NULL);
		const char *text = json_string_value(name);
		json_t *value = NULL;

		if (text && !json_object_get(whole, text))
			value = strcmp(text, list) == 0 && json_kind(m.value) == '['
					? batch_read_list(m.value)
					: batch_parse(m.value, NULL);
		if (!value || json_object_set_new(whole, text, value)) {
			json_decref(whole);
			whole = NULL;
		}
		json_decref(name);
	}
	return whole;
}
