# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154
# Fan-out: events for many subscribers, and what a delivery costs.

# fanout NAME RATE OPTIONS...: RATE events per second in all.
fanout() {
	local name=$1 rate=$2 side field wrong
	shift 2
	fresh_servers
	rounds_of "$name" --channel-prefix async- --size 200 --seconds "$seconds" --rate "$rate" "$@"
	unfair=$(who_fell_behind "$name" "$rate")
	row_ratio "$name" 'CPU us a delivery' cpu_us_per_delivery '<= 1.3'
	unfair=''
	row_ratio "$name" 'events a second' events_per_sec ''
	row_ratio "$name" 'delay p50 ms' delay_p50_ms ''
	row_ratio "$name" 'delay p90 ms' delay_p90_ms ''
	row_ratio "$name" 'delay p99 ms' delay_p99_ms ''
	row_ratio "$name" 'delay max ms' delay_max_ms ''
	for side in $(sides); do
		wrong=0
		for field in lost repeated out_of_order strange wrong_answers; do
			wrong=$((wrong + $(total "$name" "$side" $field)))
		done
		row "$name" "$side: wrong of $(total "$name" "$side" deliveries)" "$wrong" - - "$wrong" '== 0'
	done
}

case_fanout_1000() {
	fanout fanout-1000 50 --connections 1000
}

case_fanout_10000() {
	fanout fanout-10000 20 --connections 10000 --inflight 500
	# a rate that both servers reach on two cores
	fanout fanout-10000-5 5 --connections 10000 --inflight 500
}

case_fanout_channels() {
	fanout fanout-channels 2000 --connections 1000 --channels 100 --publishers 8
}

# The same subscribers with 1,000, 5,000 and 10,000 events/s, each durability beside the reference: an
# event and its ten deliveries.  What PostgreSQL uses is not in the CPU.
case_rates() {
	local rate durability reached
	fresh_servers
	for rate in 1000 5000 10000; do
		load reference "$tmp/rates-$rate.reference.1" --connections 1000 --channels 100 --publishers 64 \
			--window 0 --seconds "$seconds" --rate $rate
		[ $with_daemon = 1 ] || continue
		for durability in none async commit; do
			cp "$tmp/rates-$rate.reference.1" "$tmp/rates-$durability-$rate.reference.1"
			load daemon "$tmp/rates-$durability-$rate.daemon.1" --connections 1000 --channels 100 \
				--publishers 64 --window 0 --channel-prefix "$durability-" --seconds "$seconds" \
				--rate $rate
			reached=rates-$durability-$rate
			unfair=$(who_fell_behind "$reached" $rate)
			row_ratio "$reached" 'CPU us an event' cpu_us_per_event '<= 1.5'
			unfair=''
			row_ratio "$reached" 'events a second' events_per_sec ''
			row_ratio "$reached" 'delay p50 ms' delay_p50_ms ''
			row_ratio "$reached" 'delay p99 ms' delay_p99_ms ''
		done
	done
}
