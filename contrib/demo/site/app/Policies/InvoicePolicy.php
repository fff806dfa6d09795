<?php

// SPDX-License-Identifier: MIT

namespace App\Policies;

use App\Models\Invoice;
use App\Models\User;

class InvoicePolicy
{
    public function view(User $user, Invoice $invoice): bool
    {
        return $user->isAdmin() || $user->clients()->whereKey($invoice->client_id)->exists();
    }

    /** Clients pay; the studio sends. */
    public function pay(User $user, Invoice $invoice): bool
    {
        return $invoice->status === 'sent' && $this->view($user, $invoice);
    }

    public function send(User $user, Invoice $invoice): bool
    {
        return $invoice->status === 'draft' && $user->isAdmin();
    }
}
