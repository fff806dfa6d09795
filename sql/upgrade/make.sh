#!/bin/sh
# SPDX-License-Identifier: MIT
# Prints a script that converts a schema: $1 its template, $2 src/pg/locks.h, the rest the migrations.
set -eu
template=$1
locks=$2
shift 2
case $template in
*/from_unreleased.*) user_id=bigint ;;
*) user_id=@USER_ID@ ;;
esac

sum() {
	if command -v sha256sum >/dev/null; then sha256sum "$1"
	elif command -v shasum >/dev/null; then shasum -a 256 "$1"
	else openssl dgst -sha256 -r "$1"
	fi | cut -d ' ' -f 1
}

# Statements begin at the line's start with $1 and end with a semicolon at a line's end; that of a
# function's body is the one after its closing $$.
statements() {
	kind=$1
	shift
	awk -v kind="$kind" '
		!inside && $0 ~ "^" kind { inside = 1; body = 0 }
		inside {
			sub(/^CREATE FUNCTION/, "CREATE OR REPLACE FUNCTION")
			print
			if (/AS \$\$$/) body = 1
			if (/^\$\$;$/ || (!body && /;$/)) { inside = 0; print "" }
		}' "$@"
}

rows() {
	for f in "$@"; do
		base=$(basename "$f" .sql)
		number=${base%%_*}
		printf "\t(%s, '%s', '%s')\n" "$(expr "$number" + 0)" "${base#*_}" "$(sum "$f")"
	done | sed '$!s/$/,/'
}

# The functions that the migrations make, as rows.
names() {
	sed -n "s/^CREATE FUNCTION \(@SCHEMA@\.\)\{0,1\}\([a-z_0-9]*\)(.*/\t('\2')/p" "$@" | sort -u | sed '$!s/$/,/'
}

lock=$(sed -n 's/.*PG_LOCK_MIGRATE = \([0-9]*\);.*/\1/p' "$locks")
while IFS= read -r line; do
	case $line in
	@FUNCTIONS@)
		{ statements 'CREATE FUNCTION' "$@"; statements REVOKE "$@"; } | sed "s/@USER_ID@/$user_id/g"
		;;
	@USER_KEYS@) cat "$(dirname "$template")/user_keys.sql.in" ;;
	@COMMENTS@) statements COMMENT "$@" ;;
	"@NAMES@;") names "$@"; echo ';' ;;
	"@NEW@;") rows "$@"; echo ';' ;;
	*@MIGRATE_LOCK@*) printf '%s\n' "$line" | sed "s/@MIGRATE_LOCK@/$lock/" ;;
	*) printf '%s\n' "$line" ;;
	esac
done <"$template"
