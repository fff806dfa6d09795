# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154
# Publishing over HTTP, without subscribers.

# publish_with DURABILITY
publish_with() {
	local name=publish-$1 cpu floor connects
	load daemon "$tmp/$name.daemon.1" --publishers 8 --seconds "$seconds" --channel-prefix "$1-"
	cpu=$(value "$name" daemon cpu_us_per_event)
	floor=$(value publish reference cpu_us_per_event)
	row publish "$1: CPU us an event" "$cpu" "$floor" "$(calc "$cpu / $floor" "$cpu" "$floor")" \
		"$cpu" '<= 15'
	row publish "$1: events a second" "$(value "$name" daemon events_per_sec)" \
		"$(value publish reference events_per_sec)" - - ''
	row publish "$1: answer p99 ms" "$(value "$name" daemon answer_p99_ms)" \
		"$(value publish reference answer_p99_ms)" - - ''
	connects=$(value "$name" daemon http_connects)
	row publish "$1: connections of 8 publishers" "$connects" 8 - "$connects" '== 8'
}

# Signed publishes with each durability; the reference checks and stores nothing.
case_publish() {
	local durability
	fresh_servers
	load reference "$tmp/publish.reference.1" --publishers 8 --seconds "$seconds"
	[ $with_daemon = 1 ] || return 0
	for durability in none async commit; do
		publish_with $durability
	done
}

# commits_alone CLIENTS: rows per second that pgbench commits, one row a transaction.
commits_alone() {
	pg pgbench -n -M prepared -c "$1" -T "$seconds" -f "$tmp/commit.sql" 2>>"$tmp/pgbench.log" |
		sed -nE 's/^tps = ([0-9.]+).*/events_per_sec \1/p' | awk '{ printf "%s %.1f\n", $1, $2 }'
}

# Commits of 16 publishers, compared with pgbench on a plain table in the same PostgreSQL.
case_commit() {
	local clients=16 round d r ratio
	[ $with_daemon = 1 ] || return 0
	fresh_servers
	fresh_schema 'CREATE TABLE bench.row (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		channel text, event text, payload json)'
	printf "INSERT INTO bench.row(channel, event, payload) VALUES ('commit-1', 'bench', '{\"pad\":\"%s\"}');\n" \
		"$(printf 'x%.0s' {1..190})" >"$tmp/commit.sql"
	for ((round = 1; round <= rounds; round++)); do
		load daemon "$tmp/commit.daemon.$round" --publishers $clients --channel-prefix commit- \
			--seconds "$seconds"
		commits_alone $clients >"$tmp/commit.pgbench.$round"
	done
	d=$(value commit daemon events_per_sec) r=$(value commit pgbench events_per_sec)
	ratio=$(calc "$d / $r" "$d" "$r")
	row commit "commits/s, $clients clients (pgbench)" "$d" "$r" "$ratio" "$ratio" '>= 0.5'
}

# lone_insert FILE: the times of 500 transactions, one after the other, each an INSERT of one row.
lone_insert() {
	pg pgbench -n -M prepared -c 1 -t 500 -l --log-prefix="$tmp/lone.log" -f "$tmp/lone.sql" \
		>/dev/null 2>>"$tmp/pgbench.log"
	cat "$tmp"/lone.log.* | awk '{ print $3 }' | sort -n | awk '{ v[NR] = $1 }
		END { printf "delay_p50_ms %.3f\ndelay_p90_ms %.3f\n", v[int(NR / 2)] / 1e3,
		      v[int(NR * 0.9)] / 1e3 }' >"$1"
	rm -f "$tmp"/lone.log.*
}

# One event at a time with durability commit, from the request to the socket, compared with a
# transaction of one statement that inserts a row into a plain table of the same PostgreSQL.
case_lone() {
	local round d r ratio
	[ $with_daemon = 1 ] || return 0
	fresh_servers
	fresh_schema 'CREATE TABLE bench.row (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		channel text, event text, payload json)'
	printf "INSERT INTO bench.row(channel, event, payload) VALUES ('commit-1', 'bench', '{\"pad\":\"%s\"}');\n" \
		"$(printf 'x%.0s' {1..190})" >"$tmp/lone.sql"
	for ((round = 1; round <= 3 * rounds; round++)); do
		load daemon "$tmp/lone.daemon.$round" --connections 1 --publishers 1 --channel-prefix commit- \
			--count 500 --seconds 60
		lone_insert "$tmp/lone.insert.$round"
	done
	for round in 50 90; do
		d=$(value lone daemon delay_p${round}_ms) r=$(value lone insert delay_p${round}_ms)
		ratio=$(calc "$d / $r" "$d" "$r")
		row lone "delay p$round ms (INSERT with its commit)" "$d" "$r" "$ratio" "$ratio" \
			"$([ $round = 90 ] || echo '<= 2')"
	done
}
