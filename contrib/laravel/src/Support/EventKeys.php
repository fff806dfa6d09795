<?php

// SPDX-License-Identifier: MIT

namespace Scopewire\Laravel\Support;

use Illuminate\Contracts\Queue\Job;
use Illuminate\Support\Str;

/**
 * A key for each event, by which the daemon recognizes a repetition.  In a job of a queue it is made
 * of the job's id and the event's number in the job, so that a retried job has the same keys again.
 */
final class EventKeys
{
    /** @var list<array{string, int}> the ids of the jobs that run, and how many events each has sent */
    private array $jobs = [];

    public function begin(Job $job): void
    {
        $this->jobs[] = [(string) ($job->uuid() ?? $job->getJobId()), 0];
    }

    public function end(): void
    {
        array_pop($this->jobs);
    }

    public function isInJob(): bool
    {
        return $this->jobs !== [];
    }

    /** At most 44 characters, so that a number can follow it in an event_id. */
    public function next(): string
    {
        if ($this->jobs === []) {
            return (string) Str::uuid();
        }
        [$id, $number] = $this->jobs[count($this->jobs) - 1];
        $this->jobs[count($this->jobs) - 1][1] = $number + 1;

        return 'job-'.substr(hash('sha256', $id), 0, 32).'-'.$number;
    }
}
