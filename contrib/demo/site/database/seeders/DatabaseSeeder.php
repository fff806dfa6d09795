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
        $website = $this->project($alder, 'Website relaunch', 'Launch the new shop before the anniversary sale',
            "Design system, shop and checkout.\nThe blog stays as it is.", 9, [
                ['AF-1041', 1_840_000, 'paid', -1], ['AF-1042', 960_000, 'sent', 2], ['AF-1043', 420_000, 'draft', 6]]);
        $this->project($alder, 'Brand photography', 'Forty pictures for the shop and the next catalogue',
            'Two days in the studio, one on location.', 4, [['AF-1044', 380_000, 'sent', 3]]);
        $app = $this->project($fjord, 'Driver app', 'Drivers confirm a delivery in under ten seconds',
            'Android first. Works without a network.', 15, [['FL-2007', 2_150_000, 'sent', 1], ['FL-2008', 725_000, 'draft', 5]]);

        $this->add($website, 'updates', ['title' => 'Accessibility audit: two findings, both fixed'], $margaret, 74);
        $this->add($website, 'updates', ['title' => 'The checkout prototype is ready for review'], $margaret, 26);
        $this->add($website, 'files', ['name' => 'product-photos.zip', 'bytes' => 1_830_000], $ada, 49);
        $this->add($website, 'files', ['name' => 'checkout-prototype.pdf', 'bytes' => 1_482_000], $margaret, 26);
        $this->add($website, 'timeEntries', ['task' => 'Checkout prototype', 'minutes' => 450], $margaret, 27);
        $this->add($website, 'comments', ['body' => 'The prototype is great. Could the delivery dates be above the total?'], $ada, 22);
        $this->add($website, 'comments', ['body' => 'Done, see the new version under Files.'], $margaret, 3);
        $this->add($app, 'updates', ['title' => 'First build for the drivers of the night shift'], $margaret, 8);
        // Feeds have them in this order: the oldest first.
        $this->history([[$app, $margaret, 'invoice_sent', 'sent invoice FL-2007', 50], [$website, $margaret, 'file_uploaded', 'added checkout-prototype.pdf', 26],
            [$website, $ada, 'comment_added', 'commented on Website relaunch', 22], [$website, $margaret, 'invoice_sent', 'sent invoice AF-1042', 20],
            [$app, $margaret, 'project_updated', 'published the first build', 8], [$website, $margaret, 'comment_added', 'commented on Website relaunch', 3]]);
    }

    /** @param  array<string, mixed>  $fields of a row that was made some hours ago */
    private function add(Project $project, string $relation, array $fields, User $by, int $hours): void
    {
        $project->$relation()->create($fields + ['user_id' => $by->id, 'created_at' => now()->subHours($hours)]);
    }

    /**
     * Activities with their times; nothing is broadcast.
     *
     * @param  list<array{Project, User, string, string, int}>  $rows in what, who, the type, the words, and how many hours ago
     */
    private function history(array $rows): void
    {
        Scopewire::client()->post('activities/bulk', ['activities' => array_map(fn (array $row) => [
            'user_id' => $row[1]->id, 'type' => $row[2], 'description' => $row[3], 'created_at' => now()->subHours($row[4])->toIso8601ZuluString(),
            'subject_type' => $row[0]->getMorphClass(), 'subject_id' => (string) $row[0]->id,
            'metadata' => ['client_id' => $row[0]->client_id, 'project_id' => $row[0]->id]], $rows)]);
    }

    /**
     * Dates are counted from today, so that a portal that is made anew has none of another season.
     *
     * @param  int  $weeks until it is due
     * @param  list<array{string, int, string, int}>  $invoices number, amount in cents, status, and weeks until it is due
     */
    private function project(Client $client, string $name, string $goal, string $scope, int $weeks, array $invoices): Project
    {
        $project = $client->projects()->make(['goal' => $goal, 'scope' => $scope, 'due' => today()->addWeeks($weeks)->isoFormat('D MMMM')]);
        $project->forceFill(['name' => $name])->save();
        foreach ($invoices as [$number, $amount, $status, $due]) {
            $project->invoices()->create(['client_id' => $client->id, 'number' => $number, 'amount' => $amount,
                'status' => $status, 'due_at' => today()->addWeeks($due)]);
        }

        return $project;
    }
}
