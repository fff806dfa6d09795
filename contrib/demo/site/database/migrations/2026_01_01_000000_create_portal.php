<?php

// SPDX-License-Identifier: MIT

use Illuminate\Database\Migrations\Migration;
use Illuminate\Database\Schema\Blueprint;
use Illuminate\Support\Facades\Schema;

return new class extends Migration
{
    public function up(): void
    {
        Schema::create('users', function (Blueprint $table) {
            $table->id();
            $table->string('name');
            $table->string('email')->unique();
            $table->string('title');
            $table->json('roles')->default('[]');
            $table->rememberToken();
            $table->timestampsTz();
        });
        Schema::create('clients', function (Blueprint $table) {
            $table->id();
            $table->string('name');
            $table->timestampsTz();
        });
        Schema::create('client_user', function (Blueprint $table) {
            $table->foreignId('client_id')->constrained();
            $table->foreignId('user_id')->constrained();
            $table->primary(['client_id', 'user_id']);
        });
        Schema::create('projects', function (Blueprint $table) {
            $table->id();
            $table->foreignId('client_id')->constrained();
            $table->string('name');
            $table->string('goal')->nullable();
            $table->text('scope')->nullable();
            $table->string('due')->nullable();
            $table->timestampsTz();
        });
        Schema::create('invoices', function (Blueprint $table) {
            $table->id();
            $table->foreignId('client_id')->constrained();
            $table->foreignId('project_id')->constrained();
            $table->string('number')->unique();
            $table->integer('amount');                      // in cents
            $table->string('status')->default('draft');     // draft, sent, paid
            $table->date('due_at');
            $table->timestampsTz();
        });
        Schema::create('payments', function (Blueprint $table) {
            $table->id();
            $table->foreignId('invoice_id')->constrained();
            $table->integer('amount');
            $table->timestampsTz();
        });
        foreach (['updates' => ['title', null], 'files' => ['name', 'bytes'], 'time_entries' => ['task', 'minutes']] as $name => [$text, $number]) {
            Schema::create($name, function (Blueprint $table) use ($text, $number) {
                $table->id();
                $table->foreignId('project_id')->constrained();
                $table->foreignId('user_id')->nullable()->constrained();
                $table->string($text);
                if ($number !== null) {
                    $table->integer($number);
                }
                $table->timestampsTz();
            });
        }
        Schema::create('comments', function (Blueprint $table) {
            $table->id();
            $table->foreignId('project_id')->constrained();
            $table->foreignId('user_id')->constrained();
            $table->text('body');
            $table->uuid('client_ref')->nullable();
            $table->timestampsTz();
            $table->unique(['user_id', 'client_ref']);      // sent again, it is the same comment
        });
        Schema::create('jobs', function (Blueprint $table) {
            $table->id();
            $table->string('queue')->index();
            $table->longText('payload');
            $table->unsignedTinyInteger('attempts');
            $table->unsignedInteger('reserved_at')->nullable();
            $table->unsignedInteger('available_at');
            $table->unsignedInteger('created_at');
        });
        Schema::create('failed_jobs', function (Blueprint $table) {
            $table->id();
            $table->string('uuid')->unique();
            $table->text('connection');
            $table->text('queue');
            $table->longText('payload');
            $table->longText('exception');
            $table->timestamp('failed_at')->useCurrent();
        });
    }
};
