<?php

// SPDX-License-Identifier: MIT

namespace App\Providers;

use App\Models;
use Illuminate\Database\Eloquent\Model;
use Illuminate\Database\Eloquent\Relations\Relation;
use Illuminate\Support\Number;
use Illuminate\Support\ServiceProvider;

class AppServiceProvider extends ServiceProvider
{
    public function boot(): void
    {
        Model::shouldBeStrict();
        Number::useCurrency('EUR');
        // Words that fit the names of channels: project.7, invoice.12.
        Relation::morphMap(['project' => Models\Project::class, 'invoice' => Models\Invoice::class]);
    }
}
