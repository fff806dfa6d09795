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
