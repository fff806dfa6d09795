<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Tests\Feature;

use App\Models\Invoice;
use Composer\InstalledVersions;
use Illuminate\Support\Facades\DB;
use PHPUnit\Framework\Attributes\TestDox;
use Scopewire\Laravel\Facades\Scopewire;
use Scopewire\Laravel\ScopewireServiceProvider;
use Scopewire\Laravel\Tests\TestCase;
use Spatie\Activitylog\ActivitylogServiceProvider;

class ActivityLogTest extends TestCase
{
    protected function providers(): array
    {
        return [ScopewireServiceProvider::class, ActivitylogServiceProvider::class];
    }

    #[TestDox('entries of spatie/laravel-activitylog are copied once, with their times')]
    public function test_import(): void
    {
        $migrations = InstalledVersions::getInstallPath('spatie/laravel-activitylog').'/database/migrations/';
        foreach (['create_activity_log_table', 'add_event_column_to_activity_log_table', 'add_batch_uuid_column_to_activity_log_table'] as $name) {
            copy("$migrations$name.php.stub", "$this->folder/$name.php");
            require_once "$this->folder/$name.php";
        }
        foreach ([\CreateActivityLogTable::class, \AddEventColumnToActivityLogTable::class, \AddBatchUuidColumnToActivityLogTable::class] as $class) {
            (new $class)->up();
        }
        $ada = $this->user($this->id());
        $client = $this->id();
        $invoice = Invoice::create(['client_id' => $client, 'number' => 'A-1']);
        $this->travelTo('2020-02-03 04:05:06');
        activity('billing')->performedOn($invoice)->causedBy($ada)->event('paid')->withProperties(['client_id' => $client])->log('Paid');
        activity('billing')->withProperties(['client_id' => $client])->log(str_repeat('ü', 1500));
        $this->travelBack();

        $this->assertSame(2, $this->command('scopewire:import-activitylog')[0]);
        [$status, $output] = $this->command('scopewire:import-activitylog', ['--connection' => 'pgsql']);
        $this->assertSame(0, $status, $output);
        $this->assertStringContainsString('2 entries', $output);
        activity()->withProperties(['client_id' => $client])->log('later');
        $this->assertStringContainsString('1 entries', $this->command('scopewire:import-activitylog', ['--connection' => 'pgsql'])[1]);

        $feed = $this->waitFor(fn () => ($feed = Scopewire::activities()->getClientFeed($client))->count() === 3 ? $feed : null);
        $this->assertSame(['default', 'billing', 'paid'], $feed->pluck('type')->all());
        $paid = $feed[2];
        $this->assertSame(['Paid', $ada->id, Invoice::class, (string) $invoice->id], [$paid['description'], $paid['user_id'], $paid['subject_type'], $paid['subject_id']]);
        $this->assertStringStartsWith('2020-02-03T04:05:06', $paid['created_at']);
        DB::statement('DROP TABLE activity_log');
    }
}
