-- SPDX-License-Identifier: MIT
-- Channel rules over REST: those without a predicate.  A predicate is SQL that runs in the database, so
-- only the owner of the schema writes it, in SQL.  The functions that write have the owner's rights: the
-- daemon's own role may write no rule otherwise.

CREATE FUNCTION rule_json(p_row channel_rules) RETURNS json
LANGUAGE sql STABLE SET search_path = @SCHEMA@, pg_temp
AS $$
	SELECT json_build_object('id', p_row.id, 'app', p_row.app, 'pattern', p_row.pattern,
		'rule', p_row.rule, 'argument', p_row.argument, 'can_write', p_row.can_write)
$$;
COMMENT ON FUNCTION rule_json IS
	'A channel rule as JSON.';

CREATE FUNCTION sync_rules(p_app text, p_caller jsonb, p_page integer, p_cursor text, OUT status integer,
			   OUT body json)
LANGUAGE plpgsql STABLE SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	scope CONSTANT json := json_build_array('rules', p_app);
	after CONSTANT bigint := cursor_id(scope, p_cursor);
	page channel_rules[];
BEGIN
	page := ARRAY(SELECT r FROM channel_rules r
		      WHERE (r.app = p_app OR r.app IS NULL) AND r.id > after
		      ORDER BY r.id LIMIT p_page + 1);
	status := 200;
	body := json_build_object(
		'rules', coalesce((SELECT json_agg(rule_json(r) ORDER BY r.id) FROM unnest(page[:p_page]) r), '[]'),
		'next_cursor', CASE WHEN cardinality(page) > p_page
				    THEN cursor_make(scope, (page[p_page]).id::text) END);
END
$$;
COMMENT ON FUNCTION sync_rules IS
	'GET /rules: a page of the rules of the application and of those for all applications.';

CREATE FUNCTION sync_rule_put(p_app text, p_caller jsonb, p_pattern text, p_rule text, p_argument text,
			      p_can_write boolean, OUT status integer, OUT body json)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	r channel_rules;
BEGIN
	IF p_rule NOT IN ('anyone', 'owner', 'role') THEN
		PERFORM sync_fail(400, 'invalid_value', 'A rule with a predicate is written in SQL.', 'rule');
	END IF;
	SELECT c.* INTO r FROM channel_rules c WHERE c.app = p_app AND c.pattern = p_pattern
	AND c.rule = p_rule AND c.argument IS NOT DISTINCT FROM p_argument AND c.can_write = p_can_write;
	IF FOUND THEN       -- no change, of which all daemons would be notified
		status := 200;
		body := json_build_object('rule', rule_json(r));
		RETURN;
	END IF;
	INSERT INTO channel_rules AS c (app, pattern, rule, argument, can_write)
	VALUES (p_app, p_pattern, p_rule, p_argument, p_can_write)
	ON CONFLICT ON CONSTRAINT channel_rules_app_pattern_rule_argument_key DO UPDATE
	SET can_write = excluded.can_write
	RETURNING c.* INTO r;
	status := 200;
	body := json_build_object('rule', rule_json(r));
EXCEPTION WHEN check_violation THEN
	PERFORM sync_fail(400, 'invalid_value', format('This is not a rule: %s.', SQLERRM), 'pattern');
END
$$;
COMMENT ON FUNCTION sync_rule_put IS
	'PUT /rules: adds a rule of the application, or changes can_write of the same rule.';

CREATE FUNCTION sync_rule_delete(p_app text, p_caller jsonb, p_id bigint, OUT status integer, OUT body json)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = @SCHEMA@, pg_temp SET jit = off
AS $$
DECLARE
	r channel_rules;
BEGIN
	SELECT c.* INTO r FROM channel_rules c WHERE c.id = p_id AND (c.app = p_app OR c.app IS NULL) FOR UPDATE;
	IF r.app IS NULL AND r.id IS NOT NULL THEN
		PERFORM sync_fail(403, 'forbidden', 'The rule is for all applications: delete it in SQL.', 'id');
	ELSIF r.rule = 'sql' THEN
		PERFORM sync_fail(403, 'forbidden', 'The rule has a predicate: delete it in SQL.', 'id');
	END IF;
	DELETE FROM channel_rules c WHERE c.id = r.id;
	status := 200;
	body := json_build_object('deleted', FOUND);
END
$$;
COMMENT ON FUNCTION sync_rule_delete IS
	'DELETE /rules/{id}: a rule of the application without a predicate.';

REVOKE EXECUTE ON FUNCTION sync_rules(text, jsonb, integer, text),
	sync_rule_put(text, jsonb, text, text, text, boolean), sync_rule_delete(text, jsonb, bigint) FROM PUBLIC;
