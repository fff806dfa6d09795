<?php
// SPDX-License-Identifier: MIT
use App\Models\User;
use Illuminate\Support\Facades\Broadcast;

Broadcast::channel('App.Models.User.{id}', fn (User $user, int $id) => $user->id === $id);
Broadcast::channel('client.{id}', fn (User $user, int $id) => in_array($id, [42, 43], true));
Broadcast::channel('vault.{id}', fn (User $user) => true);
Broadcast::channel('project.{id}', fn (User $user) => ['id' => $user->id, 'name' => $user->name]);
