<?php

// SPDX-License-Identifier: MIT

namespace App\Livewire;

use App\Events\InvoiceCreated;
use App\Models\Invoice;
use Illuminate\Contracts\View\View;
use Livewire\Attributes\On;
use Livewire\Attributes\Validate;
use Livewire\Component;

/** The invoices of client 42, on every page that shows them. */
class Invoices extends Component
{
    #[Validate('required|max:40')]
    public string $number = '';

    /** Another page has added one; or events were missed that cannot be replayed. */
    #[On('echo-private:client.42,InvoiceCreated')]
    #[On('invoices-missed')]
    public function refresh(): void
    {
    }

    public function add(): void
    {
        $this->validate();
        broadcast(new InvoiceCreated(Invoice::add($this->number)))->toOthers();     // Livewire sends X-Socket-ID
        $this->reset('number');
    }

    public function render(): View
    {
        return view('livewire.invoices', ['invoices' => Invoice::numbers()]);
    }
}
