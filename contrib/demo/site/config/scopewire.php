<?php

// SPDX-License-Identifier: MIT

// What differs from the package's own configuration.
return [
    'offline' => [App\Models\Project::class],
];
