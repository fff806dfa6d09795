{{-- SPDX-License-Identifier: MIT --}}
@props(['invoices', 'showsClient' => false])
<section class="card invoices" aria-labelledby="invoices">
	<header><h2 id="invoices">Invoices</h2></header>
	@if ($invoices->isEmpty())
		<p class="empty">No invoices yet. They appear here when the studio sends one.</p>
	@else
		<ul>
			@foreach ($invoices as $invoice)
				<li data-invoice="{{ $invoice->id }}" data-status="{{ $invoice->status }}" data-user="{{ auth()->user()->isAdmin() ? 'studio' : 'client' }}">
					<div class="what"><b>{{ $invoice->number }}</b>
						<span>@if ($showsClient){{ $invoice->client->name }} · @endif<span @class(['late' => $invoice->due_at->isBefore(today())])>{{ 'due '.$invoice->due_at->isoFormat('D MMMM') }}</span></span></div>
					<span class="amount">{{ Number::currency($invoice->amount / 100) }}</span>
					<span class="status" role="status">{{ $invoice->status }}</span>
					<div class="act">
						<form class="send" data-post="{{ route('invoice.send', $invoice) }}"><button class="small">Send</button></form>
						<details class="pay"><summary class="small">Record payment</summary>
							<form data-post="{{ route('invoice.pay', $invoice) }}">
								<label>Amount in euros <input name="amount" inputmode="decimal" required value="{{ number_format($invoice->amount / 100, 2, '.', '') }}"></label>
								<button class="primary small">Record</button>
								<p class="problem" role="alert"></p>
							</form></details>
					</div>
				</li>
			@endforeach
		</ul>
	@endif
</section>
