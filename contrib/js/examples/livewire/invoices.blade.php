{{-- SPDX-License-Identifier: MIT --}}
<section>
	<h1>Invoices</h1>
	<ul aria-live="polite">
		@foreach ($invoices as $invoice)
			<li wire:key="{{ $invoice }}">{{ $invoice }}</li>
		@endforeach
	</ul>
	<form wire:submit="add">
		<label>Number <input wire:model="number"></label>
		<button>Add</button>
	</form>
</section>
