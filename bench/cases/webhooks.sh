# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154
# Webhooks: what they cost the delivery of events.

# sent_webhooks: how many the daemon with webhooks has delivered, by its metrics.
sent_webhooks() {
	local url
	url=$(sed -nE 's,.*admin: listening on (\S+).*,http://\1/metrics,p' "$tmp/hooks.log" | head -n 1)
	curl -sf "$url" | awk '$1 == "scopewire_webhook_sent_total" { print $2 }'
}

# workers_ms SIDE: CPU of the threads that write to the sockets, so far.
workers_ms() {
	local task
	for task in /proc/"${pid[$1]}"/task/*; do
		! grep -q '^worker' "$task/comm" || cut -d' ' -f1 "$task/schedstat"
	done | awk '{ n += $1 } END { printf "%.3f\n", n / 1e6 }'
}

# beside_transitions SIDE FILE: a fan-out while channels are occupied and vacated, 1,000 a second.
beside_transitions() {
	local changes before
	before=$(workers_ms "$1")
	"$build/bench/transitions" --port "${port[$1]}" --rate 1000 --seconds $((seconds + 3)) \
		--channel-prefix "t-$2-" >"$tmp/webhooks.changes-$1.$2" &
	changes=$!
	load "$1" "$tmp/webhooks.$1.$2" --channel-prefix async- --size 200 --seconds "$seconds" \
		--connections 1000 --rate 50
	wait $changes || complain "$1: transitions ended with $?"
	echo "workers_ms $(calc "$(workers_ms "$1") - $before")" >>"$tmp/webhooks.$1.$2"
}

# Two daemons, one with an endpoint that wants the transitions (the reference answers it), are loaded in
# turn.  All webhooks have to arrive in the end.
case_webhooks() {
	local round side field d r wanted i
	[ $with_daemon = 1 ] || return 0
	fresh_servers
	hook=http://127.0.0.1:${port[reference]}/hook write_config "$tmp/hooks.conf" "$workers" "$congestion"
	printf '[webhooks]\nsmoothing_ms = 100\n[admin]\nlisten = 127.0.0.1:0\nlocal_read = yes\n' \
		>>"$tmp/hooks.conf"
	start hooks "$build/scopewired" --config "$tmp/hooks.conf" --embedded-postgres "$tmp/hooks"
	for ((round = 1; round <= rounds; round++)); do
		for side in daemon hooks; do
			beside_transitions $side $round
		done
	done
	for field in 50 99; do
		d=$(value webhooks hooks delay_p${field}_ms) r=$(value webhooks daemon delay_p${field}_ms)
		r=$(calc "$r" "$r")
		row webhooks "delay p$field ms with webhooks (without)" "$d" "$r" "$(calc "$d / $r" "$d" "$r")" \
			"$(calc "$d / $r" "$d" "$r")" "$([ $field = 50 ] || echo '<= 1.3')"
	done
	d=$(value webhooks hooks workers_ms) r=$(value webhooks daemon workers_ms)
	row webhooks 'CPU ms of the workers with (without)' "$d" "$r" "$(calc "$d / $r" "$d" "$r")" \
		"$(calc "$d / $r" "$d" "$r")" '<= 1.3'
	row webhooks 'transitions a second' "$(value webhooks changes-hooks transitions_per_sec)" \
		"$(value webhooks changes-daemon transitions_per_sec)" - - ''
	# each of the 100 clients of a round leaves its last channel when it disconnects
	wanted=$(($(total webhooks changes-hooks transitions) + 100 * rounds))
	for ((i = 0; i < 600 && $(sent_webhooks) < wanted; i++)); do
		sleep 0.1
	done
	d=$(sent_webhooks)
	row webhooks "webhooks that arrived, of $wanted" "$d" - - "$d" ">= $wanted"
	end_process "${pid[hooks]}"
	unset 'pid[hooks]' 'port[hooks]'
}

# decisions EACH TIMES: prints SQL.  Each time EACH channels become occupied and are decided about, then vacated and
# decided about, in calls of 1,000; beside each call the rows that it queued are written by a plain INSERT.
# Timed are these two, with their commits.
decisions() {
	local each=$1 times=$2 first round event n
	cat <<-'END'
		INSERT INTO scopewire.node_generation (known_from) VALUES (now()) ON CONFLICT DO NOTHING;
		PREPARE decide AS SELECT queued FROM scopewire.webhook_decide('{bench,bench}', '{hooks,hooks}',
			'{channel_occupied,channel_vacated}', '{"",""}', '{"",""}', '{bench}', 1000);
		PREPARE queue(text, integer) AS INSERT INTO scopewire.webhook_queue (app, endpoint, channel, event)
			SELECT 'bench', 'hooks', 'c-' || k, json_build_object('name', $1, 'channel', 'c-' || k)
			FROM generate_series($2 + 1, $2 + 1000) k;
	END
	for ((round = 0; round < times; round++)); do
		for event in channel_occupied channel_vacated; do
			first=$((round * each))
			if [ $event = channel_occupied ]; then
				echo "INSERT INTO scopewire.cluster_members (app, channel, user_id, node, info, subscriptions)
					SELECT 'bench', 'c-' || k, '', 1, '', 1 FROM generate_series($first + 1, $first + $each) k;"
			else
				echo 'DELETE FROM scopewire.cluster_members;'
			fi
			echo "INSERT INTO scopewire.webhook_changes (app, channel, user_id, due_at)
				SELECT 'bench', 'c-' || k, '', clock_timestamp() FROM generate_series($first + 1, $first + $each) k;"
			for ((n = 0; n < each; n += 1000)); do
				printf '%s\n' '\timing on' "\\echo decide" 'EXECUTE decide;' "\\echo insert" \
					"EXECUTE queue('$event', $((first + n)));" '\timing off'
			done
		done
	done
}

# Webhooks that webhook_decide() queues in a second, called by one session, compared with a plain INSERT of the same rows: while
# as many changes wait as it takes at once, and while ten times as many do.  The daemon is paused: it would send them.
case_decide() {
	local each round d r ratio
	[ $with_daemon = 1 ] || return 0
	fresh_servers
	kill -STOP "${pid[daemon]}"
	for each in 1000 10000; do
		for ((round = 1; round <= rounds; round++)); do
			decisions $each $((20000 * seconds / 4 / each)) >"$tmp/decide.sql"
			pg psql -qXAt -v ON_ERROR_STOP=1 -f "$tmp/decide.sql" >"$tmp/decide.out" 2>&1 ||
				complain "decide: $(tail -n 3 "$tmp/decide.out")"
			awk '$1 == "decide" || $1 == "insert" { side = $1 }
				/^[0-9]+$/ { queued += $1 }
				$1 == "Time:" { ms[side] += $2; calls[side]++ }
				END {
					printf "queued %d\ncalls %d\n", queued, calls["decide"]
					printf "decide_per_sec %.0f\n", queued / ms["decide"] * 1000
					printf "insert_per_sec %.0f\n", 1000 * calls["insert"] / ms["insert"] * 1000
				}' "$tmp/decide.out" >"$tmp/decide-$each.daemon.$round"
			pg psql -qXc 'TRUNCATE scopewire.webhook_queue, scopewire.webhook_reported'
		done
		d=$(value decide-$each daemon decide_per_sec) r=$(value decide-$each daemon insert_per_sec)
		ratio=$(calc "$d / $r" "$d" "$r")
		row decide "$each wait: webhooks/s (INSERT)" "$d" "$r" "$ratio" "$d" '>= 2000'
		d=$(total decide-$each daemon queued) r=$((1000 * $(total decide-$each daemon calls)))
		row decide "$each wait: queued of $r" "$d" - - "$d" "== $r"
	done
	kill -CONT "${pid[daemon]}"
}
