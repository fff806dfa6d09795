<?php

// SPDX-License-Identifier: MIT

namespace App\Http\Controllers;

use App\Events\InvoiceStatusChanged;
use App\Models\Invoice;
use App\Models\User;
use App\Support\Journal;
use Illuminate\Http\JsonResponse;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\DB;
use Illuminate\Support\Number;
use Illuminate\Validation\ValidationException;

class InvoiceController
{
    public function __construct(private readonly Journal $journal)
    {
    }

    public function send(Request $request, Invoice $invoice): JsonResponse
    {
        $user = $request->user();
        $this->change($invoice, 'sent', $user, "sent invoice $invoice->number", 'Invoice sent');

        return new JsonResponse(['invoice' => $invoice->toPage()]);
    }

    /**
     * The status, its event, the feed and the notifications are written first, and the amount is checked
     * last: when it is wrong, the transaction is rolled back and no browser has seen anything of it.
     */
    public function pay(Request $request, Invoice $invoice): JsonResponse
    {
        $amount = (int) round(100 * $request->validate(['amount' => 'required|numeric|min:0.01|max:1000000'])['amount']);
        $user = $request->user();
        DB::transaction(function () use ($invoice, $amount, $user): void {
            $invoice->payments()->create(['amount' => $amount]);
            $this->change($invoice, 'paid', $user, "paid invoice $invoice->number", 'Invoice paid');
            if ($amount !== $invoice->amount) {
                throw ValidationException::withMessages(['amount' => 'The open amount is '
                    .Number::currency($invoice->amount / 100).'. Nothing was recorded.']);
            }
        });

        return new JsonResponse(['invoice' => $invoice->toPage()]);
    }

    private function change(Invoice $invoice, string $status, User $by, string $text, string $title): void
    {
        DB::transaction(function () use ($invoice, $status, $by, $text, $title): void {
            $invoice->update(['status' => $status]);
            broadcast(new InvoiceStatusChanged($invoice->toPage(), $invoice->client_id))->toOthers();
            $this->journal->record($by, $invoice->project, "invoice_$status", $text, $title);
        });
    }
}
