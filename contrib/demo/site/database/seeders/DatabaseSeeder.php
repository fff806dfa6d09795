<?php

// SPDX-License-Identifier: MIT

namespace Database\Seeders;

use App\Models\Client;
use App\Models\Project;
use App\Models\User;
use Illuminate\Database\Seeder;
use Scopewire\Laravel\Facades\Scopewire;

class DatabaseSeeder extends Seeder
{
    public function run(): void
    {
        [$ada, $grace, $linus, $margaret] = array_map(fn (array $u) => User::query()->create($u), [
            ['name' => 'Ada Lovelace', 'email' => 'ada@alder.example', 'title' => 'Head of product', 'roles' => []],
            ['name' => 'Grace Hopper', 'email' => 'grace@alder.example', 'title' => 'Finance', 'roles' => []],
            ['name' => 'Linus Torvalds', 'email' => 'linus@fjord.example', 'title' => 'Operations', 'roles' => []],
            ['name' => 'Margaret Hamilton', 'email' => 'margaret@studio.example', 'title' => 'Studio lead', 'roles' => ['admin']],
        ]);
        $alder = Client::query()->create(['name' => 'Alder & Finch']);
        $alder->users()->attach([$ada->id, $grace->id]);
        $fjord = Client::query()->create(['name' => 'Fjord Logistics']);
        $fjord->users()->attach([$linus->id]);
        foreach ([$ada, $grace, $linus, $margaret] as $user) {
            Scopewire::saveUser($user);
        }
        $website = $this->project($alder, 'Website relaunch', 'Launch the new shop before the autumn sale',
            "Design system, shop and checkout.\nThe blog stays as it is.", '30 September', [
                ['AF-1041', 1_840_000, 'paid'], ['AF-1042', 960_000, 'sent'], ['AF-1043', 420_000, 'draft']]);
        $this->project($alder, 'Brand photography', 'Forty pictures for the shop and the autumn catalogue',
            'Two days in the studio, one on location.', '14 August', [['AF-1044', 380_000, 'sent']]);
        $this->project($fjord, 'Driver app', 'Drivers confirm a delivery in under ten seconds',
            'Android first. Works without a network.', '1 December', [['FL-2007', 2_150_000, 'sent'], ['FL-2008', 725_000, 'draft']]);

        $website->updates()->create(['title' => 'The checkout prototype is ready for review', 'user_id' => $margaret->id]);
        $website->updates()->create(['title' => 'Accessibility audit: two findings, both fixed', 'user_id' => $margaret->id]);
        $website->files()->create(['name' => 'checkout-prototype.pdf', 'bytes' => 1_482_000, 'user_id' => $margaret->id]);
        $website->files()->create(['name' => 'product-photos.zip', 'bytes' => 18_300_000, 'user_id' => $ada->id]);
        $website->timeEntries()->create(['task' => 'Checkout prototype', 'minutes' => 450, 'user_id' => $margaret->id]);
        $website->comments()->create(['body' => 'The prototype is great. Could the delivery dates be above the total?', 'user_id' => $ada->id]);
        $website->comments()->create(['body' => 'Done, see the new version under Files.', 'user_id' => $margaret->id]);
        foreach ([[$margaret, 'file_uploaded', 'added checkout-prototype.pdf'], [$ada, 'comment_added', 'commented on Website relaunch'],
            [$margaret, 'invoice_sent', 'sent invoice AF-1042']] as [$by, $type, $text]) {
            Scopewire::activities()->addActivity(type: $type, description: $text, user: $by, subjectType: $website,
                metadata: ['client_id' => $alder->id, 'project_id' => $website->id]);
        }
    }

    /** @param  list<array{string, int, string}>  $invoices number, amount in cents, status */
    private function project(Client $client, string $name, string $goal, string $scope, string $due, array $invoices): Project
    {
        $project = $client->projects()->make(['goal' => $goal, 'scope' => $scope, 'due' => $due]);
        $project->forceFill(['name' => $name])->save();
        foreach ($invoices as $n => [$number, $amount, $status]) {
            $project->invoices()->create(['client_id' => $client->id, 'number' => $number, 'amount' => $amount,
                'status' => $status, 'due_at' => today()->addDays(14 * ($n + 1))]);
        }

        return $project;
    }
}
